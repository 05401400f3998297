"""Floor 5: a local page on which to drop a photo: what it answers, what it keeps and for how long, who may ask."""
