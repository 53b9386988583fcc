"""Taking turns out of the log, so that nothing of what was said is left.

The only exception to "rows are only ever added". What stays of a turn is its id in `forgotten`, and
the version that was trained on it first, until nobody can hold the turn any more (`lose_ids`).
Invariants: nothing is added to a forgotten turn, and none is trained on, by whoever still holds it
in memory; `trained + dropped + pending == logged` holds for what is left; a turn goes whole, with
what its request says as the reaction to the turn before; other writers come in between any hundred.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from clawjax.log.connection import chunks
from clawjax.log.schema import (
    claims,
    forgotten,
    links,
    next_states,
    outcomes,
    recalled,
    review_items,
    review_labels,
    review_leases,
    turns,
    verdicts,
)
from clawjax.records import NextStateKind

if TYPE_CHECKING:
    from clawjax.log.store import SqlTurnLog

__all__ = ["Forgotten", "forget", "forgotten_among", "lose_ids"]

_REVIEWS = (review_items, review_leases, review_labels)
_OF_A_TURN = (next_states, links, verdicts, outcomes, claims, recalled, *_REVIEWS, turns)

_ANSWERS = (NextStateKind.USER, NextStateKind.TOOL)
"""What a request says of the turn before it."""
_WORDLESS: dict[sa.Table, dict[str, str | None]] = {
    verdicts: {"hints": "[]", "explanation": "", "components": None, "revision": None},
    review_labels: {"hints": "[]", "note": ""},
}

_AT_ONCE = 100
"""Turns removed in one transaction: long ones take about 2 ms each, and replies wait for it."""
_PAUSE_S = 0.1
"""Between two transactions: as long as a waiting process may take to look again."""


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What is not in the log any more."""

    turn_ids: tuple[str, ...]
    trained: dict[int, int]
    """How many of the turns each version had learnt from, by version: a turn counts for the version
    that was trained on it, and for each that recalled it. A version in the making is counted, as
    nothing can be taken out of a step."""
    is_overwritten: bool
    """Whether the database's files have nothing of it. False: a reader or, in PostgreSQL, a vacuum
    is still to come."""
    left: int
    """How many turns that were old enough were left, as a step is training on them now."""


def forget(
    log: SqlTurnLog,
    *,
    now: float,
    scope: str | None = None,
    session_id: str | None = None,
    response_id: str | None = None,
    before: float | None = None,
    is_dry: bool = False,
) -> Forgotten:
    """Remove the turns for which all that is given holds, and all that is known about them.

    Args:
        log: the turn log.
        now: Unix seconds.
        scope: of this key.
        session_id: of this session.
        response_id: that made this response. Other turns' requests still quote it.
        before: that ended before, in Unix seconds. What a step is training on now is left.
        is_dry: say what would be removed, and remove nothing.

    Raises:
        ValueError: nothing is given, which would be everything.
        LogError: some may be left; what was removed stays so.
    """
    conditions = _conditions(scope, session_id, response_id, before)
    if not conditions:
        msg = "forgetting needs a scope, a session, a response or a time"
        raise ValueError(msg)
    left = 0
    if before is not None:
        is_claimed = sa.exists().where(claims.c.turn_id == turns.c.turn_id)
        counted = sa.select(sa.func.count().label("n")).select_from(turns)
        left = log.select(counted.where(*conditions, is_claimed))[0]["n"]
        conditions.append(~is_claimed)
    query = sa.select(turns.c.turn_id).where(*conditions).order_by(turns.c.seq)
    found = [entry["turn_id"] for entry in log.select(query)]
    turn_ids: list[str] = []
    learnt: set[tuple[str, int]] = set()
    for start in range(0, len(found), _AT_ONCE):
        if start and not is_dry:
            time.sleep(_PAUSE_S)
        part = turns.c.turn_id.in_(found[start : start + _AT_ONCE])
        with log.writing() as connection:
            there = tuple(connection.scalars(query.where(part)))
            trained = dict(_trained(connection, there))
            learnt |= {*trained.items(), *_recalled(connection, there)}
            if not is_dry:
                _remove(connection, there, trained, now)
        turn_ids += there
    is_overwritten = bool(turn_ids) and not is_dry and log.overwrite()
    versions = dict(sorted(Counter(version for _, version in learnt).items()))
    return Forgotten(tuple(turn_ids), versions, is_overwritten, left)


def lose_ids(log: SqlTurnLog, *, before: float) -> int:
    """Remove the ids of turns forgotten before that time, in Unix seconds; returns their number.

    Call it for times by which no process can hold such a turn: what is added to it, or claimed of
    it, is refused by its id.

    Raises:
        LogError: none was removed.
    """
    with log.writing() as connection:
        gone = connection.execute(sa.delete(forgotten).where(forgotten.c.forgotten_at < before))
    return gone.rowcount


def forgotten_among(connection: Connection, turn_ids: Collection[str]) -> set[str]:
    """Which of these turns have been forgotten."""
    found: set[str] = set()
    for part in chunks(tuple(turn_ids)):
        is_one = forgotten.c.turn_id.in_(part)
        found |= set(connection.scalars(sa.select(forgotten.c.turn_id).where(is_one)))
    return found


def _conditions(
    scope: str | None, session_id: str | None, response_id: str | None, before: float | None
) -> list[sa.ColumnElement[bool]]:
    conditions: list[sa.ColumnElement[bool]] = []
    if scope is not None:
        conditions.append(turns.c.scope == scope)
    if session_id is not None:
        conditions.append(turns.c.session_id == session_id)
    if response_id is not None:
        conditions.append(turns.c.response_id == response_id)
    if before is not None:
        conditions.append(turns.c.finished_at < before)
    return conditions


def _trained(connection: Connection, turn_ids: tuple[str, ...]) -> Iterator[tuple[str, int]]:
    """Who was trained on, and in which version; a step makes the version of its number."""
    for table, version in ((outcomes, outcomes.c.trained_version), (claims, claims.c.step)):
        query = sa.select(table.c.turn_id, version).where(
            table.c.turn_id.in_(turn_ids), version.is_not(None)
        )
        yield from ((row[0], row[1]) for row in connection.execute(query))


def _recalled(connection: Connection, turn_ids: tuple[str, ...]) -> Iterator[tuple[str, int]]:
    """Who was recalled, and for which versions."""
    query = sa.select(recalled.c.turn_id, recalled.c.step).where(recalled.c.turn_id.in_(turn_ids))
    yield from ((row[0], row[1]) for row in connection.execute(query))


def _remove(
    connection: Connection, turn_ids: tuple[str, ...], versions: dict[str, int], now: float
) -> None:
    rows = [
        {"turn_id": turn_id, "forgotten_at": now, "trained_version": versions.get(turn_id)}
        for turn_id in turn_ids
    ]
    if rows:
        connection.execute(sa.insert(forgotten), rows)
    _unsay(connection, turn_ids)
    for table in _OF_A_TURN:
        connection.execute(sa.delete(table).where(table.c.turn_id.in_(turn_ids)))


def _unsay(connection: Connection, turn_ids: tuple[str, ...]) -> None:
    """Nothing has come after the turns that these ones' requests answered, as far as is known.

    Their verdicts, and what people who judged them wrote, may quote it: the scores stay.
    """
    answered = sa.select(turns.c.parent_turn_id, turns.c.arrived_at).where(
        turns.c.turn_id.in_(turn_ids), turns.c.parent_turn_id.not_in(turn_ids)
    )
    for parent, arrived_at in set(connection.execute(answered)):
        is_it = sa.and_(
            next_states.c.turn_id == parent,
            next_states.c.kind.in_(_ANSWERS),
            next_states.c.arrived_at == arrived_at,
        )
        unsaid = {"kind": NextStateKind.SESSION_CLOSED, "messages": "[]"}
        if connection.execute(sa.update(next_states).where(is_it).values(unsaid)).rowcount:
            for table, wordless in _WORDLESS.items():
                is_of_it = table.c.turn_id == parent
                connection.execute(sa.update(table).where(is_of_it).values(wordless))
