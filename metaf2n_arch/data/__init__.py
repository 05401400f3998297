"""Floor 3: data sets registered with BasicSR."""
