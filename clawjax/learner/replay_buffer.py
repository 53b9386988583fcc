"""The replay buffer: turns that users praised and complained about, by user.

Teachers read it, and what was praised is learnt from again. Invariants: a turn is kept once; the
newest stay, because tastes change, and so does what the policy can do; a turn that nobody has
scored yet is kept in its place, as somebody still may, but is nobody's example.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import NamedTuple

from clawjax.config import REMEMBERED
from clawjax.records import Turn

__all__ = ["RECENT", "Feedback", "ReplayBuffer", "ScoredTurn", "SeenTurn"]

RECENT = 16
"""What is used of a user's past: the newest so many turns that are fit for the use."""


class Feedback(NamedTuple):
    """What is known of a turn: whether somebody liked it, and how they put that."""

    score: float | None
    user_text: str = ""


class SeenTurn(NamedTuple):
    """A turn that was taken into a batch, and what is known of it."""

    turn: Turn
    score: float | None
    """None where nobody has said yet whether they liked it."""
    user_text: str = ""


class ScoredTurn(NamedTuple):
    """A turn, whether somebody liked it, and how they put that."""

    turn: Turn
    score: float
    user_text: str = ""


class ReplayBuffer:
    """The newest scored turns of each user (`Turn.scope`)."""

    def __init__(self) -> None:
        """Hold nothing yet."""
        self._by_user: dict[str, list[SeenTurn]] = {}

    def add(self, turns: Iterable[SeenTurn | ScoredTurn]) -> None:
        """Keep these, oldest first; none is kept twice."""
        for one in turns:
            known = self._by_user.setdefault(one.turn.scope, [])
            if all(one.turn.turn_id != other.turn.turn_id for other in known):
                known.append(SeenTurn(*one))
                _evict(known)

    def revise(self, scope: str, feedback: Mapping[str, Feedback]) -> None:
        """Let this, by turn, be what is known of a user's turns; nothing is of those not in it."""
        known = self._by_user.get(scope, [])
        known[:] = [
            SeenTurn(one.turn, *feedback.get(one.turn.turn_id, Feedback(None))) for one in known
        ]
        _evict(known)

    def remove(self, turn_ids: Set[str]) -> None:
        """Hold these turns no longer."""
        by_user, self._by_user = self._by_user, {}
        for scope, known in by_user.items():
            if kept := [one for one in known if one.turn.turn_id not in turn_ids]:
                self._by_user[scope] = kept

    def turn_ids(self, scope: str) -> Sequence[str]:
        """Ids of all turns that are held of a user, oldest first, scored or not."""
        return [one.turn.turn_id for one in self._by_user.get(scope, ())]

    def scored(self, scope: str) -> Sequence[ScoredTurn]:
        """A user's turns with a score, oldest first."""
        return [
            ScoredTurn(one.turn, one.score, one.user_text)
            for one in self._by_user.get(scope, ())
            if one.score is not None
        ]

    def praised(self, scope: str, *, above: float = 0.0) -> Sequence[ScoredTurn]:
        """A user's turns with a score above that, oldest first."""
        return [one for one in self.scored(scope) if one.score > above]

    def blamed(self, scope: str) -> Sequence[ScoredTurn]:
        """A user's turns with a negative score, oldest first."""
        return [one for one in self.scored(scope) if one.score < 0]


def _evict(known: list[SeenTurn]) -> None:
    """Keep the newest `REMEMBERED` of those with a score, and of those without."""
    for is_scored in (True, False):
        places = [at for at, one in enumerate(known) if (one.score is not None) is is_scored]
        for at in reversed(places[:-REMEMBERED]):
            del known[at]
