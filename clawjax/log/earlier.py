"""What modules said of users' newest turns: for judges that learn from what they heard before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import sqlalchemy as sa

from clawjax.log import codec
from clawjax.log.schema import turns, verdicts
from clawjax.records import Verdict

if TYPE_CHECKING:
    from clawjax.log.store import SqlTurnLog

__all__ = ["newest_verdicts"]


def newest_verdicts(
    log: SqlTurnLog, modules: Sequence[str], *, of_each: int, limit: int
) -> list[tuple[str, Verdict]]:
    """Verdicts, each with whose turn it is on (`Turn.scope`), in the order they were reached.

    Args:
        log: the turn log.
        modules: whose verdicts.
        of_each: how many of a user, at most: the newest.
        limit: how many in all, at most: the newest.

    Raises:
        LogError: it cannot be read.
    """
    newest_first = (verdicts.c.judged_at.desc(), turns.c.seq.desc())
    place = sa.func.row_number().over(partition_by=turns.c.scope, order_by=newest_first)
    said = (
        sa.select(verdicts, turns.c.scope, turns.c.seq, place.label("place"))
        .join(turns, turns.c.turn_id == verdicts.c.turn_id)
        .where(verdicts.c.module.in_(modules))
        .subquery()
    )
    query = (
        sa.select(said)
        .where(said.c.place <= of_each)
        .order_by(said.c.judged_at.desc(), said.c.seq.desc())
        .limit(limit)
    )
    found = reversed(log.select(query))
    return [(entry["scope"], codec.decode_verdict(entry)) for entry in found]
