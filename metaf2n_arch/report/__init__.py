"""Floor 4: what a run shows: curves, panels, tables."""
