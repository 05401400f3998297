"""Floor 3: preparation of training and test data."""
