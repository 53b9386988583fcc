"""A pause: no token is drawn until somebody says so, or the lease is over.

Invariant: a pause ends by itself. Requests that come meanwhile wait; none is refused for it.
"""

from __future__ import annotations

import logging
import math
from enum import StrEnum

__all__ = ["Lease", "PauseMode"]

logger = logging.getLogger(__name__)


class PauseMode(StrEnum):
    """What becomes of the requests that are under way."""

    ABORT = "abort"
    """They end as cancelled, with what they have."""
    RETRACT = "retract"
    """They wait with what they have, and are read again when it goes on."""
    IN_PLACE = "in_place"
    """They keep their slots, their keys and their values."""


class Lease:
    """How long to stand still; times are of one monotonic clock, in seconds."""

    def __init__(self) -> None:
        """Nothing is paused."""
        self._until = -math.inf

    def begin(self, now: float, seconds: float) -> None:
        """Pause from now on; a pause that is under way ends as this one says."""
        self._until = now + seconds

    def end(self) -> None:
        """Go on."""
        self._until = -math.inf

    def left(self, now: float) -> float:
        """Seconds to go; 0 where nothing is paused."""
        if self._until == -math.inf:
            return 0.0
        left = self._until - now
        if left <= 0:
            logger.warning("nobody has ended the pause: it is over, generation goes on")
            self.end()
        return max(0.0, left)
