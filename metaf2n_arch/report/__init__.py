"""Floor 6: reports of experiments, metrics of folders of results, and the demo."""
