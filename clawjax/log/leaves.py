"""Which turns conversations may go on from, and which wait. Pure: queries, no connection."""

from __future__ import annotations

from array import array
from typing import Any

import sqlalchemy as sa

from clawjax.log.schema import next_states, outcomes, turns
from clawjax.records import FinishReason, NextStateKind, TurnKind

__all__ = ["newest_leaves", "waiting_turns"]

_ID_BYTES = array("i").itemsize
"""Of a token, as `clawjax.log.codec` packs them."""
_ENDS = (NextStateKind.USER, NextStateKind.TOOL, NextStateKind.SESSION_CLOSED)
"""A rating alone leaves a turn waiting."""


def newest_leaves(limit: int) -> sa.Select[Any]:
    """Ids and tokens of the newest main turns that no other main turn goes on from, newest first.

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
    size = sa.func.length(turns.c.prompt_ids) + sa.func.length(turns.c.response_ids)
    columns: list[sa.ColumnElement[Any]] = [turns.c.turn_id, (size // _ID_BYTES).label("tokens")]
    return (
        sa.select(*columns)
        .where(turns.c.kind == TurnKind.MAIN, ~goes_on)
        .order_by(turns.c.seq.desc())
        .limit(limit)
    )


def waiting_turns() -> sa.Select[Any]:
    """Ids of the main turns that nothing has come after and that have not ended, oldest first."""
    has_ended = sa.exists().where(outcomes.c.turn_id == turns.c.turn_id)
    is_followed = sa.exists().where(
        next_states.c.turn_id == turns.c.turn_id, next_states.c.kind.in_(_ENDS)
    )
    return (
        sa.select(turns.c.turn_id)
        .where(turns.c.kind == TurnKind.MAIN, ~has_ended, ~is_followed)
        .order_by(turns.c.seq)
    )
