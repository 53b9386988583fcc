"""What a run is measured by: held-out prompts, distance to the base model, a one-page report."""
