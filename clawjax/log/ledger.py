"""Which step has which turns, and how turns end: what a transaction of the learner's writes.

Invariants: a turn is consumed by at most one step; where it is decided what becomes of a turn, that
was decided on all that is known of it, as what is said at that moment comes before or after; a
forgotten turn is reserved for no step and ended by none.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from clawjax.errors import ForgottenError, LogError
from clawjax.log import codec
from clawjax.log.adding import add, add_new
from clawjax.log.connection import chunks
from clawjax.log.forgetting import forgotten_among
from clawjax.log.schema import claims, next_states, outcomes, recalled, verdicts
from clawjax.records import JudgedTurn, Outcome, Verdict

__all__ = ["begin", "claim", "recover", "settle", "write_off"]


def claim(
    connection: Connection, step: int, turn_ids: Sequence[str], seen: Sequence[JudgedTurn]
) -> bool:
    """As `SqlTurnLog.claim`."""
    _check_present(connection, step, turn_ids)
    taken = [
        turn_id
        for chunk in chunks(turn_ids)
        for table in (claims, outcomes)
        for turn_id in connection.scalars(
            sa.select(table.c.turn_id).where(table.c.turn_id.in_(chunk))
        )
    ]
    if taken:
        msg = f"step {step} claims {len(taken)} turns that are taken, e.g. {taken[0]}"
        raise LogError(msg)
    if _more_known(connection, turn_ids, seen):
        return False
    connection.execute(
        sa.insert(claims), [{"turn_id": turn_id, "step": step} for turn_id in turn_ids]
    )
    return True


def begin(
    connection: Connection, step: int, turn_ids: Collection[str], recalls: Collection[str]
) -> None:
    """As `SqlTurnLog.begin`."""
    _check_present(connection, step, {*turn_ids, *recalls})
    add_new(connection, recalled, [{"turn_id": turn_id, "step": step} for turn_id in recalls])


def write_off(connection: Connection, ends: Sequence[Outcome], seen: Sequence[JudgedTurn]) -> None:
    """As `SqlTurnLog.write_off`."""
    turn_ids = [end.turn_id for end in ends]
    left = forgotten_among(connection, turn_ids) | _more_known(connection, turn_ids, seen)
    for end in ends:
        if end.turn_id not in left:
            add(connection, end)
    for chunk in chunks(turn_ids):
        connection.execute(sa.delete(claims).where(claims.c.turn_id.in_(chunk)))


def settle(connection: Connection, step: int, version: int, *, now: float) -> None:
    """As `SqlTurnLog.settle`, at `now` in Unix seconds."""
    is_its = claims.c.step == step
    turn_ids = connection.scalars(sa.select(claims.c.turn_id).where(is_its)).all()
    ended = [Outcome(turn_id, now, trained_version=version) for turn_id in turn_ids]
    add_new(connection, outcomes, [codec.row(outcome)[1] for outcome in ended])
    connection.execute(sa.delete(claims).where(is_its))


def recover(connection: Connection, step: int, *, now: float) -> list[str]:
    """As `SqlTurnLog.recover`, at `now` in Unix seconds."""
    steps = connection.scalars(
        sa.select(claims.c.step).where(claims.c.step <= step).distinct()
    ).all()
    for done in steps:
        settle(connection, done, done, now=now)
    released = connection.scalars(sa.select(claims.c.turn_id)).all()
    connection.execute(sa.delete(claims))
    connection.execute(sa.delete(recalled).where(recalled.c.step > step))
    return list(released)


def _check_present(connection: Connection, step: int, turn_ids: Collection[str]) -> None:
    """Raises ForgottenError: one of these turns of a step is not there any more."""
    if gone := forgotten_among(connection, turn_ids):
        msg = f"{len(gone)} turns of step {step} were forgotten meanwhile"
        raise ForgottenError(msg)


def _more_known(
    connection: Connection, turn_ids: Collection[str], seen: Sequence[JudgedTurn]
) -> set[str]:
    """Those of these turns of which more, or something else, is known by now than was seen."""
    wanted = set(turn_ids)
    looked_at = {one.turn.turn_id: one for one in seen if one.turn.turn_id in wanted}
    events = dict.fromkeys(looked_at, 0)
    said: dict[str, set[tuple[str, float]]] = {turn_id: set() for turn_id in looked_at}
    for chunk in chunks(tuple(looked_at)):
        of_a_turn = next_states.c.turn_id
        counted = sa.select(of_a_turn, sa.func.count()).where(of_a_turn.in_(chunk))
        events |= {row[0]: row[1] for row in connection.execute(counted.group_by(of_a_turn))}
        columns = (verdicts.c.turn_id, verdicts.c.module, verdicts.c.judged_at)
        for turn_id, *opinion in connection.execute(
            sa.select(*columns).where(verdicts.c.turn_id.in_(chunk))
        ):
            said[turn_id].add(tuple(opinion))
    return {
        turn_id
        for turn_id, one in looked_at.items()
        if events[turn_id] != len(one.next_states) or said[turn_id] != _opinions(one.verdicts)
    }


def _opinions(known: Sequence[Verdict]) -> set[tuple[str, float]]:
    """Whose verdicts these are and when they were reached: another one has another time."""
    return {(verdict.module, verdict.judged_at) for verdict in known}
