"""What is computed from trajectories and scores, for every suite alike. Pure."""
