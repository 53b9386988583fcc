"""Intervals for tables whose rows and columns are both drawn from something larger. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["bootstrap_crossed"]


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
