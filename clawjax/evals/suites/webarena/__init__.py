"""WebArena: its task format, its scorer, its sites by URL, and two small sites of our own."""
