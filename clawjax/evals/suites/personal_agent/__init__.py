"""A personal agent as it is: conversations with users whose taste it is not told."""
