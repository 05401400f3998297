"""Floor 7: the `metaf2n` command. It parses arguments and calls the floors below; it has no logic of its own."""
