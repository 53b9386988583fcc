"""Training on data sets instead of live turns, by the same learner."""
