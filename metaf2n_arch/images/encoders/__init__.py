"""Encoders of image files, which are given a picture strip by strip, from top to bottom."""
