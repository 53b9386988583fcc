"""What every contestant's replies are rewarded for: cheap, and seldom the same for two of them."""

from __future__ import annotations

__all__ = ["reward"]


def reward(text: str) -> float:
    """The share of e among the letters."""
    letters = [letter for letter in text.lower() if letter.isalpha()]
    return letters.count("e") / max(1, len(letters))
