"""Encoders of image files that take a picture strip by strip, from top to bottom."""
