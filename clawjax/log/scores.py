"""How replies were judged, one after the other, and how many wait to be learnt from.

Read in a few queries over columns that are small. Invariant: a conversation's replies alone count,
those that a gateway placed: what was logged of a data set is in no one's conversation.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, NamedTuple

import sqlalchemy as sa

from clawjax.log.schema import links, turns, verdicts
from clawjax.log.store import SqlTurnLog
from clawjax.log.undecided import has_not_ended
from clawjax.records import TurnKind, Verdict
from clawjax.verdicts import combine

__all__ = ["ScoredReply", "count_ready", "scored_replies"]

_EMPTY = "[]"
"""No hints, no versions."""


class ScoredReply(NamedTuple):
    """A main turn with a score."""

    conversation: str
    version: int
    """The policy that drew its first token."""
    score: float


def scored_replies(
    log: SqlTurnLog, weights: Mapping[str, float], *, limit: int, is_newest: bool
) -> list[ScoredReply]:
    """The first or the newest main turns with a score, in order of arrival.

    Args:
        log: the turn log.
        weights: per reward module, as the learner combines their scores.
        limit: turns at most; those without a version (redacted ones) are none.
        is_newest: those that arrived last instead of those that arrived first.
    """
    order = turns.c.arrived_at.desc() if is_newest else turns.c.arrived_at
    columns: list[sa.ColumnElement[Any]] = [
        *(turns.c.turn_id, turns.c.scope, turns.c.session_id, turns.c.token_versions)
    ]
    found = log.select(
        sa.select(*columns)
        .where(turns.c.kind == TurnKind.MAIN, turns.c.token_versions != _EMPTY)
        .where(_is_placed(), _has_score())
        .order_by(order)
        .limit(limit)
    )
    scores = _scores(log, [row["turn_id"] for row in found], weights)
    replies = [
        ScoredReply(
            f"{row['scope']} {row['session_id']}", json.loads(row["token_versions"])[0][0], score
        )
        for row in found
        if (score := scores.get(row["turn_id"])) is not None
    ]
    return replies[::-1] if is_newest else replies


def count_ready(log: SqlTurnLog, *, by_score: bool, by_hint: bool) -> int:
    """Main turns with a score, or a hint, that no training step has taken and none will drop yet.

    Args:
        log: the turn log.
        by_score: a score is something to learn from.
        by_hint: a hint is.
    """
    signals = [
        signal
        for signal, is_used in (
            (verdicts.c.score.is_not(None), by_score),
            (verdicts.c.hints != _EMPTY, by_hint),
        )
        if is_used
    ]
    says = sa.exists().where(verdicts.c.turn_id == turns.c.turn_id, sa.or_(sa.false(), *signals))
    query = (
        sa.select(sa.func.count().label("ready"))
        .select_from(turns)
        .where(turns.c.kind == TurnKind.MAIN, says, has_not_ended())
    )
    return log.select(query)[0]["ready"]


def _is_placed() -> sa.ColumnElement[bool]:
    return sa.exists().where(links.c.turn_id == turns.c.turn_id)


def _has_score() -> sa.ColumnElement[bool]:
    return sa.exists().where(verdicts.c.turn_id == turns.c.turn_id, verdicts.c.score.is_not(None))


def _scores(
    log: SqlTurnLog, turn_ids: list[str], weights: Mapping[str, float]
) -> dict[str, float | None]:
    columns: list[sa.ColumnElement[Any]] = [
        *(verdicts.c.turn_id, verdicts.c.module, verdicts.c.score, verdicts.c.judged_at)
    ]
    known: dict[str, list[Verdict]] = defaultdict(list)
    for row in log.select(sa.select(*columns).where(verdicts.c.turn_id.in_(turn_ids))):
        known[row["turn_id"]].append(Verdict(*row.values()))
    return {turn_id: combine(said, weights) for turn_id, said in known.items()}
