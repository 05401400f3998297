"""What a good training run does: checkpoint sets, locks, saving before every end. Nothing here patches anything."""
