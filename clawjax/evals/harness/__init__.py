"""Harness of the agent evaluations: tasks, environments, episodes, trajectories, scores."""
