"""What users have praised and complained about: the memory of it, by user.

Teachers read it, and what was praised is learnt from again. Invariants: a turn is kept once; the
newest stay, because tastes change, and so does what the policy can do; a turn that nobody has
scored yet is kept in its place, as somebody still may, but is nobody's example.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import NamedTuple

from clawjax.records import Turn

__all__ = ["RECENT", "MetTurn", "Reactions", "ScoredTurn", "Told"]

RECENT = 16
"""What is used of a user's past: the newest so many turns that are fit for the use."""
_KEPT = 8 * RECENT
"""Turns with a score, of each user; and without one."""


class Told(NamedTuple):
    """What is known of a turn: whether somebody liked it, and how they put that."""

    score: float | None
    said: str = ""


class MetTurn(NamedTuple):
    """A turn that was taken into a batch, and what is known of it."""

    turn: Turn
    score: float | None
    """None where nobody has said yet whether they liked it."""
    said: str = ""


class ScoredTurn(NamedTuple):
    """A turn, whether somebody liked it, and how they put that."""

    turn: Turn
    score: float
    said: str = ""


class Reactions:
    """The newest scored turns of each user (`Turn.scope`)."""

    def __init__(self) -> None:
        """Remember nobody yet."""
        self._by_user: dict[str, list[MetTurn]] = {}

    def remember(self, met: Iterable[MetTurn | ScoredTurn]) -> None:
        """Keep these, oldest first; none is kept twice."""
        for one in met:
            known = self._by_user.setdefault(one.turn.scope, [])
            if all(one.turn.turn_id != other.turn.turn_id for other in known):
                known.append(MetTurn(*one))
                _let_go(known)

    def correct(self, scope: str, told: Mapping[str, Told]) -> None:
        """Let this, by turn, be what is known of a user's turns; nothing is of those not in it."""
        known = self._by_user.get(scope, [])
        known[:] = [MetTurn(one.turn, *told.get(one.turn.turn_id, Told(None))) for one in known]
        _let_go(known)

    def forget(self, turn_ids: Set[str]) -> None:
        """Remember these turns no longer."""
        by_user, self._by_user = self._by_user, {}
        for scope, known in by_user.items():
            if kept := [one for one in known if one.turn.turn_id not in turn_ids]:
                self._by_user[scope] = kept

    def met(self, scope: str) -> Sequence[str]:
        """Ids of all turns that are remembered of a user, oldest first, scored or not."""
        return [one.turn.turn_id for one in self._by_user.get(scope, ())]

    def of(self, scope: str) -> Sequence[ScoredTurn]:
        """A user's turns with a score, oldest first."""
        return [
            ScoredTurn(one.turn, one.score, one.said)
            for one in self._by_user.get(scope, ())
            if one.score is not None
        ]

    def praised(self, scope: str, *, above: float = 0.0) -> Sequence[ScoredTurn]:
        """A user's turns with a score above that, oldest first."""
        return [one for one in self.of(scope) if one.score > above]

    def blamed(self, scope: str) -> Sequence[ScoredTurn]:
        """A user's turns with a negative score, oldest first."""
        return [one for one in self.of(scope) if one.score < 0]


def _let_go(known: list[MetTurn]) -> None:
    """Keep the newest `_KEPT` of those with a score, and of those without."""
    for is_scored in (True, False):
        places = [at for at, one in enumerate(known) if (one.score is not None) is is_scored]
        for at in reversed(places[:-_KEPT]):
            del known[at]
