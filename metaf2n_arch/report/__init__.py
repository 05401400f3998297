"""Floor 6: what a run shows: curves, panels, tables."""
