"""What became of sessions and turns, without their texts and tokens: for people and tools to read.

Read in a few queries over columns that are small, whatever the length of the conversations.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import RowMapping

from clawjax.log import codec
from clawjax.log.schema import claims, links, next_states, outcomes, turns, verdicts
from clawjax.log.store import SqlTurnLog
from clawjax.records import Link, NextStateKind, TurnKind

__all__ = ["SessionOverview", "TurnOverview", "overview"]

_TOKEN_BYTES = 4
_AT_A_TIME = 500

_COLUMNS: tuple[sa.ColumnElement[Any], ...] = (
    turns.c.turn_id,
    turns.c.session_id,
    turns.c.scope,
    turns.c.parent_turn_id,
    turns.c.kind,
    turns.c.arrived_at,
    turns.c.finish_reason,
    sa.func.length(turns.c.prompt_ids).label("prompt_bytes"),
    sa.func.length(turns.c.response_ids).label("response_bytes"),
)

Rows = dict[str, list[RowMapping]]


@dataclass(frozen=True, slots=True)
class TurnOverview:
    """One turn."""

    turn_id: str
    parent_turn_id: str | None
    kind: str
    arrived_at: float
    prompt_tokens: int
    response_tokens: int
    finish_reason: str
    link: Link | None
    """None where the turn was logged before there were links."""
    came_after: tuple[str, ...]
    """Kinds of next states, in their order."""
    scores: dict[str, float | None]
    """By reward module; None is an abstention."""
    became: str
    """How it ended, or what it waits for."""
    is_left_behind: bool
    """It waits, but its parent has gone on with another turn."""


@dataclass(frozen=True, slots=True)
class SessionOverview:
    """One session."""

    session_id: str
    scope: str
    turns: tuple[TurnOverview, ...]


def overview(
    log: SqlTurnLog, *, session_id: str | None = None, limit: int = 20
) -> list[SessionOverview]:
    """The sessions used last, the newest first, with all of their turns.

    Args:
        log: the turn log.
        session_id: only this one, or those that begin so.
        limit: sessions at most.
    """
    chosen = _sessions(log, session_id, limit)
    lines = _turns(log, [found["session_id"] for found in chosen])
    return [
        SessionOverview(found["session_id"], found["scope"], tuple(described))
        for found in chosen
        if (described := lines.get((found["scope"], found["session_id"])))
    ]


def _sessions(log: SqlTurnLog, session_id: str | None, limit: int) -> Sequence[RowMapping]:
    session: list[sa.ColumnElement[Any]] = [turns.c.session_id, turns.c.scope]
    query: sa.Select[Any] = (
        sa.select(*session)
        .group_by(*session)
        .order_by(sa.func.max(turns.c.seq).desc())
        .limit(limit)
    )
    if session_id is not None:
        query = query.where(turns.c.session_id.startswith(session_id, autoescape=True))
    return log.select(query)


def _turns(
    log: SqlTurnLog, session_ids: Sequence[str]
) -> dict[tuple[str, str], list[TurnOverview]]:
    query: sa.Select[Any] = sa.select(*_COLUMNS).order_by(turns.c.seq)
    found = list(_in_parts(log, query, turns.c.session_id, session_ids))
    turn_ids = [row["turn_id"] for row in found]
    states, judged, ended, taken, placed = (
        _by_turn(log, table, turn_ids) for table in (next_states, verdicts, outcomes, claims, links)
    )
    last_children = {row["parent_turn_id"]: row["turn_id"] for row in found}
    described: dict[tuple[str, str], list[TurnOverview]] = defaultdict(list)
    for row in found:
        turn_id = row["turn_id"]
        parent = row["parent_turn_id"]
        has_successor = parent is not None and last_children[parent] != turn_id
        came_after = tuple(state["kind"] for state in states[turn_id])
        scores = {verdict["module"]: verdict["score"] for verdict in judged[turn_id]}
        described[row["scope"], row["session_id"]].append(
            TurnOverview(
                turn_id=turn_id,
                parent_turn_id=parent,
                kind=row["kind"],
                arrived_at=row["arrived_at"],
                prompt_tokens=row["prompt_bytes"] // _TOKEN_BYTES,
                response_tokens=row["response_bytes"] // _TOKEN_BYTES,
                finish_reason=row["finish_reason"],
                link=codec.decode_link(placed[turn_id][0]) if placed[turn_id] else None,
                came_after=came_after,
                scores=scores,
                became=_became(ended[turn_id], taken[turn_id], came_after, scores),
                is_left_behind=has_successor
                and row["kind"] == TurnKind.MAIN
                and turn_id not in last_children
                and not ended[turn_id],
            )
        )
    return described


def _became(
    ended: Sequence[RowMapping],
    taken: Sequence[RowMapping],
    came_after: Sequence[str],
    scores: dict[str, float | None],
) -> str:
    if ended:
        version, reason = ended[0]["trained_version"], ended[0]["drop_reason"]
        return f"trained in version {version}" if reason is None else f"dropped: {reason}"
    if taken:
        return f"in training step {taken[0]['step']}"
    if not came_after:
        return "waits for what comes next"
    if not scores:
        return "waits for a verdict"
    if all(kind == NextStateKind.SESSION_CLOSED for kind in came_after):
        return "judged; nothing came after it"
    return "waits for a training step"


def _by_turn(log: SqlTurnLog, table: sa.Table, turn_ids: Sequence[str]) -> Rows:
    """Rows by turn, in the order of their keys."""
    columns = [column for column in table.c if column.name != "messages"]
    query = sa.select(*columns).order_by(*table.primary_key.columns)
    rows: Rows = defaultdict(list)
    for row in _in_parts(log, query, table.c.turn_id, turn_ids):
        rows[row["turn_id"]].append(row)
    return rows


def _in_parts(
    log: SqlTurnLog, query: sa.Select[Any], column: sa.Column[Any], keys: Sequence[str]
) -> Iterator[RowMapping]:
    for start in range(0, len(keys), _AT_A_TIME):
        yield from log.select(query.where(column.in_(keys[start : start + _AT_A_TIME])))
