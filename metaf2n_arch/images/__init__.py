"""Floor 0: images as arrays and tensors, photo files, tiles."""
