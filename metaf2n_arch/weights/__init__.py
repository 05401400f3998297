"""Floor 2: weights files: where they lie, what they hold, which network they belong to."""
