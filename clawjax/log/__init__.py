"""The turn log: everything that happened, durable and append-only."""
