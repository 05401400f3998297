"""Floor 5: what makes the stock `python -m basicsr.train` know our parts, and every repair of it. Nothing else patches anything."""
