"""Floor 4: option files. One reader, one checker of names and one of whole files, for the runner and all commands."""
