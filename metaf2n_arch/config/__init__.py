"""Option files: read, checked, described."""
