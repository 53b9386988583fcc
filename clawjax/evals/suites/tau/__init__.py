"""tau-bench: customers served by tools over a database; the reward is the final state."""
