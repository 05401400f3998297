"""Floor 0: checks, images, random generators and weights files. Imports torch and NumPy only."""
