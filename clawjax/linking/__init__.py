"""From requests to turns: which turn a request continues, and whether it is a side request.

Records in, decisions with reasons out; no clock, no I/O. `Linker` decides, `replay` decides again.
"""
