"""Which turns conversations may go on from. Pure: queries, no connection."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from clawjax.log.schema import turns
from clawjax.records import FinishReason, TurnKind

__all__ = ["newest_leaves"]


def newest_leaves(limit: int) -> sa.Select[Any]:
    """The newest main turns that no other main turn goes on from, newest first.

    One that was answered, but whose answer got no reply (the process died before, or the client
    left), is a leaf: its client will send the same again. A child is in its parent's session and
    logged after it, which is what the index on sessions finds without reading the session.
    """
    child = turns.alias()
    goes_on = sa.exists().where(
        child.c.session_id == turns.c.session_id,
        child.c.seq > turns.c.seq,
        child.c.parent_turn_id == turns.c.turn_id,
        child.c.kind == TurnKind.MAIN,
        child.c.finish_reason != FinishReason.CANCELLED,
    )
    return (
        sa.select(turns)
        .where(turns.c.kind == TurnKind.MAIN, ~goes_on)
        .order_by(turns.c.seq.desc())
        .limit(limit)
    )
