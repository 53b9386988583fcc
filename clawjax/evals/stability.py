"""When the effect of learning counts as stable, and how soon chance alone would look like that.

Pure functions. Invariant: a count is of sessions, in the order in which they began.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["STABLE_SESSIONS", "sessions_by_chance", "sessions_to_stable"]

STABLE_SESSIONS = 3
"""Sessions in a row whose first reply meets the wish: a stable effect."""


def sessions_to_stable(user: Sequence[Mapping[str, Any]]) -> int | None:
    """Sessions until the first reply meets the wish three times in a row; None if it never does."""
    first = {entry["session"]: entry["style"] for entry in user if entry["turn"] == 0}
    run = 0
    for count, session in enumerate(sorted(first), start=1):
        run = run + 1 if first[session] >= 1.0 else 0
        if run == STABLE_SESSIONS:
            return count
    return None


def sessions_by_chance(share: float) -> float | None:
    """Expected independent trials until three in a row succeed: (1 - p^3) / ((1 - p) p^3).

    Summed as 1/p + 1/p^2 + 1/p^3, which is defined at p = 1 as well. Reference: Feller, An
    Introduction to Probability Theory and Its Applications I, XIII.7.

    Args:
        share: p, the probability that one succeeds.

    Returns:
        At least three; None where p is 0: it has no end.
    """
    if share <= 0:
        return None
    return sum(share**-length for length in range(1, STABLE_SESSIONS + 1))
