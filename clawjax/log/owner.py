"""Which run's learner a log belongs to: two of them on one log would train its turns twice.

Owns the table `owners`. Invariants: it has one row at most, which stays until another run takes the
log over; claims are the owner's, as the number of a claim's step says nothing to another run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa

from clawjax.log.schema import claims, owners

if TYPE_CHECKING:
    from clawjax.log.store import SqlTurnLog

__all__ = ["Owner", "own", "owner_of"]


class Owner(NamedTuple):
    """A run."""

    owner_id: str
    """Random, and the run's for good."""
    run: str
    """Its folder when its learner last started, for people."""


def owner_of(log: SqlTurnLog) -> Owner | None:
    """Whose learner the log belongs to; None where none has opened it yet.

    Raises:
        LogError: it cannot be read.
    """
    found = log.select(sa.select(owners))
    return Owner(**found[0]) if found else None


def own(log: SqlTurnLog, mine: Owner, *, takes_over: bool = False) -> Owner:
    """Own a log that is nobody's or already one's own; whose it is afterwards.

    Turns that another run's step was at, which is in nobody's weights here, are free again.

    Args:
        log: the turn log.
        mine: who wants to own it.
        takes_over: whether to own it also where it is another run's.

    Raises:
        LogError: it cannot be written.
    """
    with log.writing() as connection:
        found = connection.execute(sa.select(owners)).first()
        if found is not None and found.owner_id != mine.owner_id:
            if not takes_over:
                return Owner(*found)
            connection.execute(sa.delete(claims))
        connection.execute(sa.delete(owners))
        connection.execute(sa.insert(owners), [mine._asdict()])
    return mine
