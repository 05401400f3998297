"""Floor 1: random degradations. Configuration, one draw of it, and its application to images."""
