"""What the training loop may know of its surroundings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from clawjax.log.replay import HasTurns
from clawjax.protocols import Ledger, TurnLog
from clawjax.records import JudgedTurn, Outcome

__all__ = ["LearnerLog", "Stop"]


class LearnerLog(TurnLog, Ledger, HasTurns, Protocol):
    """The slice of the turn log that the learner uses."""

    def last_arrival(self) -> float | None:
        """Unix seconds at which the newest main request arrived."""
        ...

    def outcomes(self) -> Mapping[str, Outcome]:
        """Every turn that has ended, by turn id."""
        ...

    def among(self, turn_ids: Sequence[str]) -> Sequence[JudgedTurn]:
        """Those of these turns that are there, with all that is known about them."""
        ...

    def undecided_choices(self, response_ids: Sequence[str]) -> Mapping[str, str]:
        """Main turns, of these answers, that are neither settled nor claimed: answers by turn."""
        ...

    def forgotten(self, *, after: int) -> Sequence[tuple[int, str]]:
        """Turns that are not there any more, beyond `after`: the next numbers and ids, in order."""
        ...


class Stop(Protocol):
    """Asks the loop to end; `threading.Event` is one."""

    def is_set(self) -> bool:
        """Whether to end."""
        ...

    def wait(self, timeout: float) -> bool:
        """Sleep, but not past the wish to end."""
        ...
