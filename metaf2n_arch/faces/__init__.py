"""Floor 3: faces of a photo: detection, alignment, restoration."""
