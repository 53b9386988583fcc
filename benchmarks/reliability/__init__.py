"""Faults made on purpose, under load, and what came of them."""
