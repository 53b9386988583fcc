"""The HTTP endpoint and the collection of turns. Imports no jax."""
