"""What is known about a turn, from its rows, and what of it the judges have not got to yet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import RowMapping

from clawjax.log import codec
from clawjax.log.schema import cursors
from clawjax.records import JudgedTurn

__all__ = ["JUDGES", "judges_place", "known_turn"]

JUDGES = "judge"
"""The name of the judges' cursor in the log: up to it, all verdicts are there."""


def judges_place() -> sa.Select[Any]:
    """Where the judges stand; no row where none has ever read this log."""
    return sa.select(cursors.c.position).where(cursors.c.name == JUDGES)


def known_turn(
    turn: RowMapping,
    events: Sequence[RowMapping],
    judgements: Sequence[RowMapping],
    place: Sequence[RowMapping],
) -> JudgedTurn:
    """A turn of its row, of those of `next_states` and `verdicts`, and of where the judges stand.

    Their cursor moves in order, so one that waits for a slow verdict has others behind it that are
    judged already: those may be among the unjudged.
    """
    beyond = [event for event in events if place and event["seq"] > place[0]["position"]]
    return JudgedTurn(
        turn["seq"],
        codec.decode_turn(turn),
        tuple(map(codec.decode_next_state, events)),
        tuple(map(codec.decode_verdict, judgements)),
        tuple(map(codec.decode_next_state, beyond)),
    )
