"""Did a mean score rise by more than chance does? Pure.

Invariants: scores in a row of one conversation are not taken for independent ones, and a few that
happen to be equal prove nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import chain
from statistics import fmean
from typing import NamedTuple

__all__ = ["Change", "change_of_mean", "pieces"]

_IN_A_ROW = 8
"""Scores of one conversation that are one piece of evidence."""
_ONE_OF_EACH = ((-1.0,), (1.0,))
_TAIL = 0.975
_FURTHEST = 2.0
"""Apart that means of scores in [-1, 1] can be."""


class Change(NamedTuple):
    """How much higher the later of two means is."""

    difference: float
    low: float
    high: float
    """95 % interval from `low`. It is about a difference that is a little closer to 0."""

    @property
    def is_beyond_chance(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low > 0 or self.high < 0


def pieces(scores: Iterable[tuple[str, float]]) -> list[tuple[float, ...]]:
    """Pieces of evidence: up to eight scores in a row of one conversation each.

    Args:
        scores: the conversation and the score of each reply, in their order.
    """
    by_conversation: dict[str, list[float]] = {}
    for conversation, score in scores:
        by_conversation.setdefault(conversation, []).append(score)
    return [
        tuple(one[start : start + _IN_A_ROW])
        for one in by_conversation.values()
        for start in range(0, len(one), _IN_A_ROW)
    ]


def change_of_mean(
    before: Sequence[Sequence[float]], after: Sequence[Sequence[float]]
) -> Change | None:
    """The difference of two means of scores in [-1, 1], with Welch's interval over pieces.

    Either side has a -1 and a 1 besides for the interval (Agresti and Caffo 2000, The American
    Statistician 54:280), so that no side is without spread. The variance is the one that is robust
    to clusters (Liang and Zeger 1986), the degrees of freedom are Satterthwaite's.

    Returns:
        None where a side is empty.
    """
    if not before or not after:
        return None
    from scipy.special import stdtrit

    (old, old_variance, old_df), (new, new_variance, new_df) = _mean(before), _mean(after)
    variance = old_variance + new_variance
    freedom = variance**2 / (old_variance**2 / old_df + new_variance**2 / new_df)
    reach = float(stdtrit(freedom, _TAIL)) * math.sqrt(variance)
    raw = fmean(chain.from_iterable(after)) - fmean(chain.from_iterable(before))
    middle = new - old
    return Change(raw, max(middle - reach, -_FURTHEST), min(middle + reach, _FURTHEST))


def _mean(groups: Sequence[Sequence[float]]) -> tuple[float, float, int]:
    """Of all scores and one of each kind: their mean, its variance, degrees of freedom."""
    groups = (*groups, *_ONE_OF_EACH)
    scores = [*chain.from_iterable(groups)]
    mean = fmean(scores)
    squares = sum(sum(score - mean for score in group) ** 2 for group in groups)
    count = len(groups)
    return mean, count / (count - 1) * squares / len(scores) ** 2, count - 1
