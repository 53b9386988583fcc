"""Loop 3: what a turn was worth, judged by what came after it."""
