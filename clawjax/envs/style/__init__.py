"""How a persona wants replies written, and how well a reply does that."""

from clawjax.envs.style.score import (
    WISHES,
    Style,
    Wish,
    broken_wishes,
    held_wishes,
    style_score,
)
from clawjax.envs.style.text import count_words

__all__ = [
    "WISHES",
    "Style",
    "Wish",
    "broken_wishes",
    "count_words",
    "held_wishes",
    "style_score",
]
