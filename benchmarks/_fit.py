"""How a cost grows: the exponent of a power law through measured points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

__all__ = ["PowerLaw", "fit_power_law"]


class PowerLaw(NamedTuple):
    """`y = factor * x ** exponent`."""

    exponent: float
    factor: float


def fit_power_law(xs: Sequence[float], ys: Sequence[float]) -> PowerLaw:
    """Least squares of `log y` on `log x`; every point weighs the same, whatever its size.

    Raises:
        ValueError: fewer than two different `xs`, or a value that is not positive.
    """
    if len(set(xs)) < 2 or min(*xs, *ys) <= 0:
        msg = f"xs={list(xs)}, ys={list(ys)}: a fit needs two different xs, and all above 0"
        raise ValueError(msg)
    slope, intercept = np.polyfit(np.log(xs), np.log(ys), 1)
    return PowerLaw(float(slope), float(np.exp(intercept)))
