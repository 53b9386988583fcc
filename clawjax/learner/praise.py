"""What users have praised: the memory of it, by user.

Teachers read it, and it is learnt from again. Invariants: a turn is kept once; the newest stay,
because tastes change, and so does what the policy can do.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from clawjax.records import Turn

__all__ = ["RECENT", "Praise", "Praised"]

RECENT = 16
"""What is used of a user's praise: the newest so many turns that are fit for the use."""
_KEPT = 8 * RECENT


class Praised(NamedTuple):
    """A turn that somebody liked."""

    turn: Turn
    score: float
    """Above 0."""


class Praise:
    """The newest praised turns of each user (`Turn.scope`)."""

    def __init__(self) -> None:
        """Remember nobody yet."""
        self._by_user: dict[str, deque[Praised]] = {}

    def remember(self, scored: Iterable[tuple[Turn, float | None]]) -> None:
        """Keep those with a positive score, oldest first; none is kept twice."""
        for turn, score in scored:
            known = self._by_user.setdefault(turn.scope, deque(maxlen=_KEPT))
            is_new = all(turn.turn_id != praised.turn.turn_id for praised in known)
            if score is not None and score > 0 and is_new:
                known.append(Praised(turn, score))

    def of(self, scope: str) -> Sequence[Praised]:
        """A user's, oldest first."""
        return tuple(self._by_user.get(scope, ()))
