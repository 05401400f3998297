"""Floor 4: option files: reading, checking and explaining them, for the runner and all commands."""
