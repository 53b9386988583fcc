"""One file per client, each with its `RECIPE`."""
