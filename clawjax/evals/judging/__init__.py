"""How good reward modules are: labelled turns, attacks on judges, and the measures."""
