"""Floor 5: training runs: position, signals, checkpoints, resume, folders, progress.

These functions and classes patch nothing. Of BasicSR, "the host", they use only the public side of models and loaders.
"""
