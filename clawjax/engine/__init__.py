"""Engines: they sample from the policy. `embedded` runs one in this process."""
