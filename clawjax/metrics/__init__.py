"""Where numbers go: one JSON line per event, W&B, and a live view of the four loops."""
