"""Floor 1: the inner loop and the exact gradient through it. Parameters in, parameters out."""
