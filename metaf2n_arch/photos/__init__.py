"""Floor 4: many photos: which file goes where, restoring one after the other, and what came of each."""
