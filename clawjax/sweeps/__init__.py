"""Sweeps: what is tried, trial by trial, and what came of it. Optuna is an extra, imported late."""
