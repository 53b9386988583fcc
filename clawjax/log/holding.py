"""Which turns training waits for, because people are to judge them first."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from clawjax.log.schema import review_items, turns

__all__ = ["ReviewRequest", "is_held"]

_CLOCKS_DIFFER_S = 60.0
"""Of machines that share a log."""


@dataclass(frozen=True, slots=True)
class ReviewRequest:
    """That people are to judge a turn. Key: `turn_id`; a second request changes nothing."""

    turn_id: str
    reasons: tuple[str, ...]
    """Why, in words of `clawjax.review.reasons`."""
    asked_at: float
    held_until: float
    """Unix seconds up to which training waits for them."""
    people: int = 1
    """How many have to agree."""


def is_held(now: float) -> sa.ColumnElement[bool]:
    """Of a row of `turns`: whether its review is open and the time for it is not over."""
    return sa.exists().where(
        review_items.c.turn_id == turns.c.turn_id,
        review_items.c.closed_at.is_(None),
        review_items.c.held_until > now,
        # Where it was asked for in the future, the clock has gone back: the time may be over.
        review_items.c.asked_at <= now + _CLOCKS_DIFFER_S,
    )
