"""What an agent can do in a browser: Chromium, its accessibility tree, and WebArena's actions."""
