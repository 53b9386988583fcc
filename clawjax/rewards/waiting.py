"""How long a turn waits for a judge that is away, and when it has waited long enough.

Invariant: an outage costs no turn its verdict before `patience_s` are over; a turn that alone gets
no answer, while its judge answers others, does not hold these up for so long.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

__all__ = ["FIRST_WAIT_S", "Waiting"]

FIRST_WAIT_S = 1.0
_LONGEST_WAIT_S = 60.0
_MOST_ALONE = 5
"""Failures in a row between which others were answered: then it is the turn and not the judge."""


class Waiting:
    """One turn's."""

    def __init__(
        self,
        patience_s: float,
        *,
        first_s: float = FIRST_WAIT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """It has not waited yet."""
        self._patience_s = patience_s
        self._wait_s = first_s
        self._clock = clock
        self._since: float | None = None
        self._answered = 0
        self._alone = 0

    @property
    def has_begun(self) -> bool:
        """Whether there was a try before."""
        return self._since is not None

    def next_s(self, answered: int) -> float | None:
        """Seconds to the next try, longer each time, with jitter; None where that was the last.

        Args:
            answered: how many answers of any kind the judge has given so far, to whomever.
        """
        now = self._clock()
        if self._since is None:
            self._since = now
        else:
            self._alone += answered > self._answered
        self._answered = answered
        left_s = self._since + self._patience_s - now
        if left_s <= 0 or self._alone >= _MOST_ALONE:
            return None
        wait_s = self._wait_s * random.uniform(0.5, 1.0)
        self._wait_s = min(2 * self._wait_s, _LONGEST_WAIT_S)
        return min(wait_s, left_s)
