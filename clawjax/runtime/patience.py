"""After what pause something that died is started again, and when that is given up. Pure.

Invariant: the first start anew is at once; each death soon after the last doubles the pause, up to
a limit; who lived for `STABLE_S` before is not one that keeps dying.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["STABLE_S", "Patience"]

STABLE_S = 600.0
"""What ran for so long is not something that keeps dying: its deaths are counted anew."""


@dataclass(slots=True)
class Patience:
    """With one process, or one loop of a process."""

    max_restarts: int
    """How often it is started again in a row, where it died of itself."""
    max_wait_s: float
    """The longest pause."""
    began_at: float
    """When it was last started, by the caller's clock."""
    restarts: int = 0
    """Since it last ran for `STABLE_S`; those that count against `max_restarts`."""
    deaths: int = 0
    """As many, and those that do not count."""

    def wait_s(self, now: float, *, counts: bool = True) -> float | None:
        """It died: seconds until it is to be started again; None when that has been tried enough.

        Args:
            now: by the clock of `began_at`.
            counts: False where it died for want of something that will come back, e.g. space on
                the disk: then it is tried for as long as that takes.
        """
        if now - self.began_at >= STABLE_S:
            self.restarts = self.deaths = 0
        if counts and self.restarts >= self.max_restarts:
            return None
        wait_s = min(2.0 ** (self.deaths - 1), self.max_wait_s) if self.deaths else 0.0
        self.deaths += 1
        self.restarts += counts
        self.began_at = now + wait_s
        return wait_s
