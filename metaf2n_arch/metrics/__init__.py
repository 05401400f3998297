"""Floor 2: metrics registered with BasicSR."""
