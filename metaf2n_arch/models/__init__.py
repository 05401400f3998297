"""Floor 4: models registered with BasicSR."""
