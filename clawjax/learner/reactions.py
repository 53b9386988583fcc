"""What users have praised and complained about: the memory of it, by user.

Teachers read it, and what was praised is learnt from again. Invariants: a turn is kept once; the
newest stay, because tastes change, and so does what the policy can do.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence, Set
from typing import NamedTuple

from clawjax.records import Turn

__all__ = ["RECENT", "Reactions", "ScoredTurn"]

RECENT = 16
"""What is used of a user's past: the newest so many turns that are fit for the use."""
_KEPT = 8 * RECENT


class ScoredTurn(NamedTuple):
    """A turn, whether somebody liked it, and how they put that."""

    turn: Turn
    score: float
    said: str = ""


class Reactions:
    """The newest scored turns of each user (`Turn.scope`)."""

    def __init__(self) -> None:
        """Remember nobody yet."""
        self._by_user: dict[str, deque[ScoredTurn]] = {}

    def remember(self, scored: Iterable[ScoredTurn]) -> None:
        """Keep these, oldest first; none is kept twice."""
        for one in scored:
            known = self._by_user.setdefault(one.turn.scope, deque(maxlen=_KEPT))
            if all(one.turn.turn_id != other.turn.turn_id for other in known):
                known.append(one)

    def forget(self, turn_ids: Set[str]) -> None:
        """Remember these turns no longer."""
        by_user, self._by_user = self._by_user, {}
        for scope, known in by_user.items():
            if kept := [one for one in known if one.turn.turn_id not in turn_ids]:
                self._by_user[scope] = deque(kept, maxlen=_KEPT)

    def of(self, scope: str) -> Sequence[ScoredTurn]:
        """All that is remembered of a user, oldest first."""
        return tuple(self._by_user.get(scope, ()))

    def praised(self, scope: str, *, above: float = 0.0) -> Sequence[ScoredTurn]:
        """A user's turns with a score above that, oldest first."""
        return [one for one in self._by_user.get(scope, ()) if one.score > above]

    def blamed(self, scope: str) -> Sequence[ScoredTurn]:
        """A user's turns with a negative score, oldest first."""
        return [one for one in self._by_user.get(scope, ()) if one.score < 0]
