"""Which turns the learner looks at: judged, neither settled nor claimed.

Owns the query. Invariant: where there are more than asked for, every scope has its oldest ones
among them, as many as there is room for, so that nobody's backlog hides what others said.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from clawjax.log.holding import is_held
from clawjax.log.schema import claims, outcomes, turns, verdicts
from clawjax.records import TurnKind

__all__ = ["has_not_ended", "undecided", "undecided_choices"]


def undecided(limit: int, *, now: float) -> sa.Select[Any]:
    """At most `limit` rows of `turns`, oldest first; without those held for people at `now`."""
    has_verdict = sa.exists().where(verdicts.c.turn_id == turns.c.turn_id)
    before_it = sa.func.row_number().over(partition_by=turns.c.scope, order_by=turns.c.seq)
    chosen = (
        sa.select(turns.c.seq)
        .where(has_verdict, has_not_ended(), ~is_held(now))
        .order_by(before_it, turns.c.seq)
        .limit(limit)
    )
    return sa.select(turns).where(turns.c.seq.in_(chosen)).order_by(turns.c.seq)


def undecided_choices(response_ids: Sequence[str]) -> sa.Select[Any]:
    """Of the main turns that are choices of these answers, ids and answers, judged or not."""
    is_choice = turns.c.response_id.in_(response_ids) & (turns.c.kind == TurnKind.MAIN)
    columns: list[sa.ColumnElement[Any]] = [turns.c.turn_id, turns.c.response_id]
    return sa.select(*columns).where(is_choice, has_not_ended())


def has_not_ended() -> sa.ColumnElement[bool]:
    """Of rows of `turns`: neither settled nor claimed."""
    is_settled = sa.exists().where(outcomes.c.turn_id == turns.c.turn_id)
    is_claimed = sa.exists().where(claims.c.turn_id == turns.c.turn_id)
    return ~is_settled & ~is_claimed
