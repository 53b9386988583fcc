"""Whether everything that was promised is there, and everything that is there was ended. Pure.

Three witnesses that know nothing of one another: what clients were told (`talking.Memory`), what
the turn log has, and how many turns are in the surviving weights (the newest checkpoint's count).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from clawjax.config.databases import file_url
from clawjax.log.replay import replay
from clawjax.log.store import SqlTurnLog
from clawjax.records import JudgedTurn, NextStateKind, Outcome

from .talking import Memory

__all__ = ["Books", "balance", "read_books", "turns_in_weights"]


class Books(NamedTuple):
    """The balance after everything was over."""

    answered: int
    """Turns that a client was told about to the last byte."""
    missing: int
    """Of those, how many the log does not have."""
    missing_ratings: int
    """Ratings that were acknowledged and are not in the log."""
    doubled: int
    """Answers that are in the log more than once."""
    asked_twice: int
    """Turns trained on beyond one for each request: what was asked again was taken for new."""
    logged: int
    trained: int
    dropped: dict[str, int]
    """Turns by the reason why."""
    queued: int
    """Turns that have no ending yet."""
    claimed: int
    """Of those, how many a step that is over still holds."""
    in_weights: int
    """Turns that the surviving weights were trained on, as the checkpoint counted them."""

    @property
    def trained_twice(self) -> int:
        """Turns in the weights beyond those that were trained on once."""
        return max(0, self.in_weights - self.trained)

    @property
    def trained_in_name_only(self) -> int:
        """Turns that count as trained and are in no weights."""
        return max(0, self.trained - self.in_weights)

    @property
    def unaccounted(self) -> int:
        """Turns that are neither trained, nor dropped with a reason, nor queued."""
        return self.logged - self.trained - sum(self.dropped.values()) - self.queued


def balance(
    memory: Memory,
    turns: Iterable[JudgedTurn],
    outcomes: Mapping[str, Outcome],
    *,
    claimed: int,
    in_weights: int,
) -> Books:
    """Compare what was promised with what is there."""
    found = list(turns)
    ids = {judged.turn.turn_id for judged in found}
    by_response = {judged.turn.response_id: judged for judged in found}
    answered, rated = set(memory.answered), set(memory.rated)
    has_rating = {
        response_id
        for response_id, judged in by_response.items()
        if any(state.kind is NextStateKind.FEEDBACK for state in judged.next_states)
    }
    endings = {turn_id: outcomes[turn_id] for turn_id in ids if turn_id in outcomes}
    trained = [
        judged
        for judged in found
        if (ending := endings.get(judged.turn.turn_id)) and ending.trained_version is not None
    ]
    return Books(
        answered=len(answered),
        missing=len(answered - by_response.keys()),
        missing_ratings=len(rated - has_rating),
        doubled=len(found) - len(by_response),
        asked_twice=len(trained) - len({judged.turn.messages for judged in trained}),
        logged=len(found),
        trained=len(trained),
        dropped=dict(
            Counter(ending.drop_reason.value for ending in endings.values() if ending.drop_reason)
        ),
        queued=len(ids - outcomes.keys()),
        claimed=claimed,
        in_weights=in_weights,
    )


def read_books(memory: Memory, folder: Path) -> Books:
    """The balance of a run's folder, while nothing runs in it."""
    log = SqlTurnLog.open(file_url(folder / "turns.db"))
    try:
        return balance(
            memory,
            replay(log),
            log.outcomes(),
            claimed=log.claimed(),
            in_weights=turns_in_weights(folder / "checkpoints"),
        )
    finally:
        log.close()


def turns_in_weights(checkpoints: Path) -> int:
    """What the newest checkpoint counted; 0 where there is none."""
    steps = sorted(int(path.name) for path in checkpoints.glob("*") if path.name.isdecimal())
    if not steps:
        return 0
    return json.loads((checkpoints / str(steps[-1]) / "meta" / "metadata").read_text())["turns"]
