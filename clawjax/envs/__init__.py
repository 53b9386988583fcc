"""What the policy lives among: personas and the simulated users that hold them."""
