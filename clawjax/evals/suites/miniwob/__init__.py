"""MiniWoB++ by AgentLab's protocol, on the task pages of the `miniwob` package."""
