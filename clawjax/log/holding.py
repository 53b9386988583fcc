"""Which turns training waits for, because people are to judge them first."""

from __future__ import annotations

import sqlalchemy as sa

from clawjax.log.schema import review_items, turns

__all__ = ["is_held"]


def is_held(now: float) -> sa.ColumnElement[bool]:
    """Of a row of `turns`: whether its review is open and the time for it is not over."""
    return sa.exists().where(
        review_items.c.turn_id == turns.c.turn_id,
        review_items.c.closed_at.is_(None),
        review_items.c.held_until > now,
    )
