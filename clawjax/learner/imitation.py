"""Self-imitation: what a user praised before is learnt from again, while they are not content.

Praise is rare where a wish is seldom met, and a turn that met it says more than many that did not.
Owns the memory of praised turns, by user. Invariants: a turn is replayed only beside later ones of
its user; the better the batch, the less a replayed turn counts, so that it fades by itself.

Reference: Oh et al. 2018, "Self-Imitation Learning", arXiv:1806.05635: past returns above the
value of now, `(R - V)+`, are imitated.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from clawjax.learner.credit import AdmittedTurn
from clawjax.log.replay import to_sample
from clawjax.records import Sample, Turn

__all__ = ["SelfImitation"]

_RECENT = 16
"""Praised turns kept of each user."""


class _Praised(NamedTuple):
    turn: Turn
    score: float


class SelfImitation:
    """The newest praised turns of each user (`Turn.scope`)."""

    def __init__(self, count: int) -> None:
        """Replay at most `count` turns beside a batch."""
        self._count = count
        self._by_user: dict[str, deque[_Praised]] = {}

    def remember(self, scored: Iterable[tuple[Turn, float | None]]) -> None:
        """Keep those with a positive score, oldest first; none is kept twice."""
        for turn, score in scored:
            known = self._by_user.setdefault(turn.scope, deque(maxlen=_RECENT))
            is_new = all(turn.turn_id != praised.turn.turn_id for praised in known)
            if score is not None and score > 0 and is_new:
                known.append(_Praised(turn, score))

    def samples(self, batch: Sequence[AdmittedTurn]) -> list[Sample]:
        """Earlier turns of the batch's users, newest first, with credit `score - mean score`.

        None whose credit would not be positive.
        """
        scores = [admitted.score for admitted in batch if admitted.score is not None]
        here = {admitted.turn.turn_id for admitted in batch}
        users = dict.fromkeys(admitted.turn.scope for admitted in batch)
        value = sum(scores) / len(scores) if scores else 0.0
        better = [
            praised
            for user in users
            for praised in reversed(self._by_user.get(user, ()))
            if praised.turn.turn_id not in here and praised.score > value
        ]
        return [
            to_sample(turn, (score - value,) * len(turn.response_ids))
            for turn, score in better[: self._count]
        ]
