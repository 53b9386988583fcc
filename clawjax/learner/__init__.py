"""Training: judged turns in, published policy versions out."""
