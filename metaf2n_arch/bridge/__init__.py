"""Floor 5: what makes the stock runners of BasicSR know us. The only place that patches anything."""
