"""Chores in a text household, with ALFWorld's actions and goals."""
