"""What people are asked, what they said, and what that makes of a turn."""
