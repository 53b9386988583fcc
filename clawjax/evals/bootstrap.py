"""Bootstrap intervals of means over samples that are alike in groups. Pure; the same each time."""

from __future__ import annotations

import random
from collections.abc import Sequence
from statistics import fmean

import numpy as np

__all__ = [
    "bootstrap_crossed",
    "bootstrap_mean",
    "bootstrap_nested",
    "interval_of_replies",
    "percentiles",
]

_RESAMPLES = 2000


def interval_of_replies(table: Sequence[Sequence[float]]) -> tuple[float, float] | None:
    """95 % interval of a mean score over seeds and prompts, by `bootstrap_crossed`.

    Args:
        table: `[seeds, prompts]`; of one seed the interval is over its replies alone.

    Returns:
        None of a single reply, or none.

    Raises:
        ValueError: seeds have different numbers of replies.
    """
    if sum(map(len, table)) < 2:
        return None
    return bootstrap_crossed(table)


def bootstrap_mean(
    values: Sequence[float], *, level: float = 0.95, samples: int = _RESAMPLES
) -> tuple[float, float]:
    """Percentile bootstrap interval of a mean (Efron 1979); the same each time."""
    rng = random.Random(len(values))
    size = len(values)
    means = sorted(sum(rng.choices(values, k=size)) / size for _ in range(samples))
    return percentiles(means, level)


def bootstrap_nested(
    groups: Sequence[Sequence[float]], *, level: float = 0.95, samples: int = _RESAMPLES
) -> tuple[float, float] | None:
    """Percentile bootstrap interval of the mean of group means; the same each time.

    Groups are drawn with replacement, then the members of each: seeds of one persona are more
    alike than personas are (Davison and Hinkley 1997, section 3.8).

    Returns:
        None of fewer than two groups, unless the one has two members: what varies is not known.
    """
    if len(groups) < 2 and sum(map(len, groups)) < 2:
        return None
    rng = random.Random(len(groups))
    means = sorted(
        fmean(
            fmean(rng.choices(group, k=len(group))) for group in rng.choices(groups, k=len(groups))
        )
        for _ in range(samples)
    )
    return percentiles(means, level)


def bootstrap_crossed(
    table: Sequence[Sequence[float]], *, level: float = 0.95, samples: int = 4000
) -> tuple[float, float]:
    """Percentile interval of the mean of a table; the same each time.

    Rows are drawn with replacement, and columns, the same ones for all rows: where every seed
    answers the same prompts, prompts that happen to be easy are so for all seeds, and drawing them
    anew for each would make the interval too narrow (pigeonhole bootstrap: Owen 2007,
    arXiv:0712.1111). Of three rows that differ much it covers less than it says: 84 % of the time
    instead of 95 % where rows have a standard deviation of 0.16 (simulated).

    Args:
        table: `[rows, columns]`, e.g. seeds by prompts.
        level: of confidence.
        samples: how often it is drawn anew.

    Raises:
        ValueError: the table is empty or its rows differ in length.
    """
    values = np.asarray(table, dtype=float)
    if values.ndim != 2 or not values.size:
        msg = f"a table of shape {values.shape} has no mean: give rows of one length"
        raise ValueError(msg)
    rng = np.random.default_rng(values.shape)
    rows, columns = (rng.multinomial(n, [1 / n] * n, size=samples) for n in values.shape)
    means = np.einsum("sr,rc,sc->s", rows, values, columns, optimize=True) / values.size
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def percentiles(ordered: Sequence[float], level: float) -> tuple[float, float]:
    """Between which `level` of the values lie, as many below as above."""
    tail = (1 - level) / 2
    last = len(ordered) - 1
    return ordered[int(tail * len(ordered))], ordered[min(int((1 - tail) * len(ordered)), last)]
