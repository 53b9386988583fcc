"""Wire formats of one and the same request and reply. Pure translations: no I/O, no state kept."""
