"""Floor 5: what a good training run does: position, signals, checkpoints, resume, folders, progress.

Functions and classes that patch nothing and know no more of the host than what its models and loaders offer to all.
"""
