"""Floor 0: checks, option blocks, random generators and files. Imports torch and NumPy only."""
