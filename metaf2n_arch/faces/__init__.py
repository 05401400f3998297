"""Faces of a photo (floor 3): detection, alignment, restoration."""
