"""The composition root: configuration to objects, and the loops' processes."""
