"""WebArena-Verified: typed answers and recorded requests, scored by the published scorer."""
