"""GAIA: questions with one short answer, tools to find it, and the official scorer."""
