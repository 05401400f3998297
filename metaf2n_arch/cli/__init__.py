"""Floor 5: the `metaf2n` command. Parses arguments, calls the floors below, holds no logic."""
