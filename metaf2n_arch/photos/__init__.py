"""Floor 4: batches of photos: names of the results, restoring one after the other, outcomes and reports."""
