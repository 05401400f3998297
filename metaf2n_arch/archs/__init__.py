"""Floor 2: networks registered with BasicSR."""
