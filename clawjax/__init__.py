"""clawjax: train a personal agent by talking to it."""
