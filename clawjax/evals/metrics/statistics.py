"""Means with their uncertainty, repeated trials, and comparisons of two agents.

Invariants: nothing here sees an unscored episode; who calls leaves them out and counts them. What
one task alone cannot tell, an interval or a p-value, is None.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import NamedTuple

from clawjax.evals.bootstrap import percentiles

__all__ = [
    "Mcnemar",
    "Paired",
    "clustered_bootstrap",
    "mcnemar",
    "paired_difference",
    "pass_at_k",
    "pass_hat_k",
    "standard_error",
]

_SAMPLES = 2000
_FEWEST = 2
"""Clusters that an interval or a p-value takes."""
_ROUNDING = 1e-9

Clusters = Mapping[str, Sequence[float]]
"""Scores by what is resampled as a whole: the trials of one task are not independent of one
another, nor are variations of one task."""


def standard_error(values: Sequence[float]) -> float | None:
    """Of a mean; sqrt(p(1-p)/n) where all are 0 or 1, else the sample's (AgentLab's convention)."""
    if not values:
        return None
    n = len(values)
    mean = fmean(values)
    if all(value in (0.0, 1.0) for value in values):
        return math.sqrt(mean * (1 - mean) / n)
    if n == 1:
        return None
    return math.sqrt(sum((value - mean) ** 2 for value in values) / (n - 1) / n)


def clustered_bootstrap(
    clusters: Clusters, *, level: float = 0.95, samples: int = _SAMPLES, seed: int = 0
) -> tuple[float, float] | None:
    """Percentile interval of the mean, tasks resampled with all their trials (Efron 1979).

    None of fewer than two clusters. The same each time.
    """
    groups = [list(values) for _, values in sorted(clusters.items()) if values]
    if len(groups) < _FEWEST:
        return None
    return percentiles(_resampled(groups, random.Random(seed), samples), level)


class Paired(NamedTuple):
    """How much better B is than A on the same tasks."""

    difference: float
    ci: tuple[float, float] | None
    """95 %, clusters resampled; None of one, as is `p_value`."""
    p_value: float | None
    """Two-sided: how often signs by chance put the mean as far from 0."""
    n: int
    """Tasks compared."""


def paired_difference(
    a: Mapping[str, Sequence[float]],
    b: Mapping[str, Sequence[float]],
    *,
    cluster_of: Callable[[str], str] = str,
    samples: int = _SAMPLES,
    seed: int = 0,
) -> Paired | None:
    """Difference of the mean scores of tasks that both have; None where there is none.

    Args:
        a: scores of each task's trials.
        b: likewise.
        cluster_of: which task it is a variation of; by default each stands for itself.
        samples: how often clusters are drawn anew, and signs flipped where all ways are too many.
        seed: of these.
    """
    shared = sorted(task for task in a if a[task] and b.get(task))
    if not shared:
        return None
    clusters: dict[str, list[float]] = {}
    for task in shared:
        clusters.setdefault(cluster_of(task), []).append(fmean(b[task]) - fmean(a[task]))
    groups = list(clusters.values())
    difference = fmean([each for group in groups for each in group])
    if len(groups) < _FEWEST:
        return Paired(difference, None, None, len(shared))
    rng = random.Random(seed)
    means = _resampled(groups, rng, samples)
    p_value = _sign_flips([sum(group) for group in groups], rng, samples)
    return Paired(difference, percentiles(means, 0.95), p_value, len(shared))


class Mcnemar(NamedTuple):
    """McNemar's test on tasks that exactly one of two agents solved."""

    only_a: int
    only_b: int
    p_value: float
    """Exact, two-sided (binomial with p = 1/2)."""


def mcnemar(a: Mapping[str, bool], b: Mapping[str, bool]) -> Mcnemar:
    """By task (or task and trial): whether it was solved; what only one has is left out."""
    shared = a.keys() & b.keys()
    only_a = sum(a[key] and not b[key] for key in shared)
    only_b = sum(b[key] and not a[key] for key in shared)
    n = only_a + only_b
    tail = sum(math.comb(n, i) for i in range(min(only_a, only_b) + 1)) / 2**n
    return Mcnemar(only_a, only_b, min(1.0, 2 * tail))


def pass_at_k(counts: Sequence[tuple[int, int]], k: int) -> float | None:
    """Mean over tasks of 1 - C(n-c, k) / C(n, k): one of k trials succeeds.

    Args:
        counts: trials and successes of each task; those with fewer than `k` trials are left out.
        k: trials looked at.

    Reference: Chen et al. 2021, arXiv:2107.03374.
    """
    values = [1 - math.comb(n - c, k) / math.comb(n, k) for n, c in counts if n >= k]
    return fmean(values) if values else None


def pass_hat_k(counts: Sequence[tuple[int, int]], k: int) -> float | None:
    """Mean over tasks of C(c, k) / C(n, k): all of k trials succeed.

    Reference: Yao et al. 2024 (tau-bench), arXiv:2406.12045. Arguments as for `pass_at_k`.
    """
    values = [math.comb(c, k) / math.comb(n, k) for n, c in counts if n >= k]
    return fmean(values) if values else None


def _sign_flips(differences: Sequence[float], rng: random.Random, samples: int) -> float:
    """Share of sign assignments whose sum is as far from 0 as that of `differences`.

    Of all 2^n where those are at most `samples` (Fisher's exact randomisation test), else of so
    many drawn ones and the given one (Phipson and Smyth 2010): never below 1/(samples + 1).
    """
    n = len(differences)
    least = abs(sum(differences)) - _ROUNDING
    is_exact = 2**n <= samples
    drawn = range(2**n) if is_exact else (rng.getrandbits(n) for _ in range(samples))
    as_far = sum(abs(_flipped(differences, bits)) >= least for bits in drawn)
    return as_far / 2**n if is_exact else (as_far + 1) / (samples + 1)


def _flipped(differences: Sequence[float], bits: int) -> float:
    """Their sum, with the sign of difference i the other one where bit i is set."""
    return sum(-each if bits >> i & 1 else each for i, each in enumerate(differences))


def _resampled(groups: Sequence[Sequence[float]], rng: random.Random, samples: int) -> list[float]:
    """Means of groups drawn with replacement, each with all its members, in order."""
    return sorted(
        fmean([value for group in rng.choices(groups, k=len(groups)) for value in group])
        for _ in range(samples)
    )
