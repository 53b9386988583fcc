"""Real clients, as their registries ship them, against a live gateway."""
