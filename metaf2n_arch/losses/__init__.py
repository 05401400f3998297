"""Floor 2: losses registered with BasicSR."""
