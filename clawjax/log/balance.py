"""How many turns there are, and what became of them."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from clawjax.log.schema import next_states, outcomes, turns, verdicts
from clawjax.records import Counts

__all__ = ["balance"]


def balance(connection: Connection) -> Counts:
    """The counts, as one transaction sees them."""
    logged = connection.scalar(sa.select(sa.func.count()).select_from(turns)) or 0
    endings = connection.execute(
        sa.select(
            outcomes.c.drop_reason,
            sa.func.count(outcomes.c.trained_version),
            sa.func.count(),
        ).group_by(outcomes.c.drop_reason)
    ).all()
    linked = connection.scalar(sa.select(sa.func.count(sa.distinct(next_states.c.turn_id))))
    judged = sa.select(sa.func.count(sa.distinct(verdicts.c.turn_id)))
    scored = connection.scalar(judged.where(verdicts.c.score.is_not(None))) or 0
    trained = sum(count for _, count, _ in endings)
    dropped = {reason: count for reason, _, count in endings if reason is not None}
    return Counts(
        logged=logged,
        trained=trained,
        pending=logged - trained - sum(dropped.values()),
        dropped=dropped,
        linked=linked or 0,
        scored=scored,
        abstained=(connection.scalar(judged) or 0) - scored,
    )
