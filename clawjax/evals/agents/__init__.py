"""Who is evaluated: endpoints, and the scripted agents that the gates of every suite need."""
