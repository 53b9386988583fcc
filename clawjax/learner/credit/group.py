"""Advantages of turns compared with one another: groups of replies to one prompt, or the batch.

Pure Python numbers. A turn's group is any hashable key, e.g. the prompt it answers; order and
position do not matter. Conventions: a deviation is that of the sample (n - 1), as in the
implementations these methods are known by; a turn without anything to compare it with gets 0.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Sequence
from enum import StrEnum
from typing import NamedTuple

__all__ = [
    "Filtered",
    "Pair",
    "dr_grpo",
    "dynamic_filter",
    "grpo",
    "most_varied",
    "preferences",
    "reinforce_pp",
    "rloo",
    "tilted",
    "whiten",
]


def grpo(
    scores: Sequence[float], groups: Sequence[Hashable], *, floor: float = 1e-4
) -> tuple[float, ...]:
    """`A_i = (s_i - mean(s)) / max(std(s), floor)` over the turn's group.

    Reference: Shao et al. 2024, arXiv:2402.03300, section 4.1.2. The floor keeps a group whose
    scores differ by a rounding from weighing as much as one that is torn.
    """
    members = _members(scores, groups)
    return tuple(
        (score - _mean(members[key])) / max(_deviation(members[key]), floor)
        for score, key in zip(scores, groups, strict=True)
    )


def dr_grpo(scores: Sequence[float], groups: Sequence[Hashable]) -> tuple[float, ...]:
    """`A_i = s_i - mean(s)` over the turn's group: no group weighs more for being of one mind.

    Reference: Liu et al. 2025, arXiv:2503.20783, section 3.2.
    """
    members = _members(scores, groups)
    return tuple(score - _mean(members[key]) for score, key in zip(scores, groups, strict=True))


def rloo(scores: Sequence[float], groups: Sequence[Hashable]) -> tuple[float, ...]:
    """`A_i = s_i - mean_{j != i}(s_j) = n / (n - 1) (s_i - mean(s))` over the turn's group.

    Reference: Ahmadian et al. 2024, arXiv:2402.14740, eq. 4.
    """
    members = _members(scores, groups)
    return tuple(
        (score - _mean(members[key])) * len(members[key]) / max(len(members[key]) - 1, 1)
        for score, key in zip(scores, groups, strict=True)
    )


def reinforce_pp(
    scores: Sequence[float],
    *,
    groups: Sequence[Hashable] | None = None,
    token_counts: Sequence[int] | None = None,
    floor: float = 1e-4,
) -> tuple[float, ...]:
    """`A_i = whiten(s_i - b_i)` over the whole batch, so that no group sets its own scale.

    `b_i` is the mean of the turn's group ("REINFORCE++ with baseline"), or 0 without `groups`.
    With `token_counts` the batch's mean and deviation are those over response tokens, else those
    over turns.

    Reference: Hu et al. 2025, arXiv:2501.03262, section 3.
    """
    centred = tuple(scores) if groups is None else dr_grpo(scores, groups)
    return whiten(centred, weights=token_counts, floor=floor)


def whiten(
    values: Sequence[float], *, weights: Sequence[float] | None = None, floor: float = 1e-4
) -> tuple[float, ...]:
    """`(x_i - mean(x)) / max(std(x), floor)`; values that are all equal become 0.

    Args:
        values: one per turn.
        weights: how often each value counts (e.g. its turn's tokens); once by default.
        floor: least deviation to divide by. It bounds how far small differences are blown up: by
            1 / floor.
    """
    mean = _mean(values, weights)
    deviation = _deviation(values, weights)
    return tuple((value - mean) / max(deviation, floor) for value in values)


class Pair(NamedTuple):
    """Two turns of a group, by their places in the batch."""

    chosen: int
    rejected: int


def tilted(advantages: Sequence[float], negative_weight: float) -> tuple[float, ...]:
    """`A` where it is above 0, `negative_weight A` below: learn more from what was liked.

    Reference: asymmetric REINFORCE, Arnal et al. 2025, arXiv:2506.20520, where a baseline below the
    mean does the same.
    """
    return tuple(a if a > 0 else negative_weight * a for a in advantages)


def preferences(scores: Sequence[float], groups: Sequence[Hashable]) -> tuple[Pair, ...]:
    """Every two turns of a group whose scores differ: no tie has to be broken, nothing is idle.

    A turn is in as many pairs as its group has turns of another score.

    Reference: all comparisons within a prompt, Ouyang et al. 2022, arXiv:2203.02155, section 3.5.
    """
    return tuple(
        Pair(chosen, rejected)
        for places in _places(groups)
        for chosen, rejected in itertools.permutations(places, 2)
        if scores[chosen] > scores[rejected]
    )


def most_varied(
    scores: Sequence[float], groups: Sequence[Hashable], *, kept: int
) -> tuple[int, ...]:
    """Places of the `kept` turns of each group whose scores vary most; all of smaller groups.

    These are always the highest and the lowest ones, and of two the best and the worst: most of
    what a group teaches for a part of the passes. How many from each end, the variance decides;
    of equal variances the one with more from the top.

    Reference: max-variance down-sampling, Xu et al. 2025, arXiv:2504.13818, section 3.2.
    """
    return tuple(sorted(p for places in _places(groups) for p in _spread(scores, places, kept)))


def _spread(scores: Sequence[float], places: Sequence[int], kept: int) -> list[int]:
    if len(places) <= kept:
        return list(places)
    ranked = sorted(places, key=lambda place: scores[place], reverse=True)
    ends = (ranked[:top] + ranked[len(ranked) - kept + top :] for top in range(kept, -1, -1))
    return max(ends, key=lambda chosen: _deviation([scores[place] for place in chosen]))


class Filtered(StrEnum):
    """Why a turn is left out of a batch of groups."""

    NOTHING_TO_COMPARE = "nothing_to_compare"
    """The only turn of its group."""
    EQUAL_SCORES = "equal_scores"
    """Its whole group has one score, hence no advantage."""


def dynamic_filter(
    scores: Sequence[float], groups: Sequence[Hashable], *, tolerance: float = 0.0
) -> tuple[Filtered | None, ...]:
    """Why each turn is to be dropped, or None: groups whose scores teach nothing go as a whole.

    Dropping them keeps the number of turns with a gradient in a batch from shrinking as more
    prompts are always, or never, answered well.

    Args:
        scores: one per turn.
        groups: one key per turn.
        tolerance: scores of a group that lie within it count as equal.

    Reference: DAPO, Yu et al. 2025, arXiv:2503.14476, section 3.2, eq. 11.
    """
    members = _members(scores, groups)
    return tuple(_verdict(members[key], tolerance) for key in groups)


def _verdict(scores: Sequence[float], tolerance: float) -> Filtered | None:
    if len(scores) == 1:
        return Filtered.NOTHING_TO_COMPARE
    return Filtered.EQUAL_SCORES if max(scores) - min(scores) <= tolerance else None


def _places(groups: Sequence[Hashable]) -> list[list[int]]:
    """Where the turns of each group stand in the batch."""
    places: dict[Hashable, list[int]] = {}
    for place, key in enumerate(groups):
        places.setdefault(key, []).append(place)
    return list(places.values())


def _members(scores: Sequence[float], groups: Sequence[Hashable]) -> dict[Hashable, list[float]]:
    members: dict[Hashable, list[float]] = {}
    for score, key in zip(scores, groups, strict=True):
        members.setdefault(key, []).append(score)
    return members


def _mean(values: Sequence[float], weights: Sequence[float] | None = None) -> float:
    """Exactly the value where all are equal, so that their differences from it are 0."""
    first = values[0] if values else 0.0
    weights = weights or (1.0,) * len(values)
    shifts = (w * (value - first) for w, value in zip(weights, values, strict=True))
    return first + math.fsum(shifts) / max(math.fsum(weights), 1.0)


def _deviation(values: Sequence[float], weights: Sequence[float] | None = None) -> float:
    """Of the sample; 0 for fewer than two."""
    mean = _mean(values, weights)
    weights = weights or (1.0,) * len(values)
    squares = (w * (value - mean) ** 2 for w, value in zip(weights, values, strict=True))
    return math.sqrt(math.fsum(squares) / max(math.fsum(weights) - 1.0, 1.0))
