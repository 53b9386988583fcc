"""How far a judge agrees with the truth, or with another judge."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

__all__ = ["Agreement", "agreement"]


class Agreement(NamedTuple):
    """Of yes-or-no verdicts; None where a denominator is 0."""

    n: int
    accuracy: float | None
    precision: float | None
    """Of those the judge calls successful, how many are: the primary one (AgentRewardBench)."""
    recall: float | None
    f1: float | None
    negative_predictive_value: float | None
    kappa: float | None
    """Cohen's: agreement beyond chance."""
    gap: float | None
    """Success rate by the judge less the true one."""


def agreement(pairs: Iterable[tuple[bool, bool]]) -> Agreement:
    """Compare verdicts, each `(judge, truth)`."""
    listed = list(pairs)
    n = len(listed)
    both = sum(judge and truth for judge, truth in listed)
    only_judge = sum(judge and not truth for judge, truth in listed)
    only_truth = sum(truth and not judge for judge, truth in listed)
    neither = n - both - only_judge - only_truth
    said, true = both + only_judge, both + only_truth
    return Agreement(
        n=n,
        accuracy=_ratio(both + neither, n),
        precision=_ratio(both, said),
        recall=_ratio(both, true),
        f1=_ratio(2 * both, 2 * both + only_judge + only_truth),
        negative_predictive_value=_ratio(neither, neither + only_truth),
        kappa=_kappa(n, both + neither, said, true),
        gap=None if n == 0 else (said - true) / n,
    )


def _kappa(n: int, agreed: int, said: int, true: int) -> float | None:
    """Cohen 1960: (p_o - p_e) / (1 - p_e)."""
    if n == 0:
        return None
    expected = (said * true + (n - said) * (n - true)) / n**2
    return None if expected == 1 else (agreed / n - expected) / (1 - expected)


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None
