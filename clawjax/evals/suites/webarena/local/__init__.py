"""A shop and a forum on loopback, with a database that an episode begins afresh."""
