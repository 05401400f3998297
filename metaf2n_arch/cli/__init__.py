"""Floor 7: the `metaf2n` command. Parses arguments, calls the floors below, holds no logic."""
