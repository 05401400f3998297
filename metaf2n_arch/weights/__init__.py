"""Floor 2: weights files: search, download, loading, recognition of networks, conversion, export."""
