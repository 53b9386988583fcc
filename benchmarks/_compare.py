"""Times contestants in turn, so that what else the machine does meets all of them alike.

A round times everyone once, in an order that is reversed from round to round. What is compared is
the ratio within a round; stated are its median and its range over the rounds.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import NamedTuple

__all__ = ["Spread", "in_turn", "load", "one_line", "ratios", "spread"]


class Spread(NamedTuple):
    """A median and the range it comes from."""

    median: float
    low: float
    high: float

    def as_row(self, name: str) -> dict[str, float]:
        """Three columns of a result's row."""
        return {name: self.median, f"{name}_low": self.low, f"{name}_high": self.high}


def in_turn(
    contestants: Mapping[str, Callable[[], float]], *, rounds: int, warm_ups: int = 1
) -> dict[str, list[float]]:
    """What each contestant measured, round by round.

    Args:
        contestants: each call is one measurement, in whatever unit.
        rounds: measurements of each that count; at least 1.
        warm_ups: calls of each before those, which compile and fill caches.
    """
    for contest in contestants.values():
        for _ in range(warm_ups):
            contest()
    measured: dict[str, list[float]] = {name: [] for name in contestants}
    for index in range(rounds):
        for name in list(contestants)[:: -1 if index % 2 else 1]:
            measured[name].append(contestants[name]())
            print(f"  round {index + 1}: {name} {measured[name][-1]:.4g}", flush=True)
    return measured


def spread(values: Sequence[float]) -> Spread:
    """Median and range of at least one value."""
    return Spread(median(values), min(values), max(values))


def ratios(numerators: Sequence[float], denominators: Sequence[float]) -> Spread:
    """Of measurements of the same rounds."""
    return spread([a / b for a, b in zip(numerators, denominators, strict=True)])


def load() -> float:
    """How many threads wanted to run, on average over the last minute."""
    return os.getloadavg()[0]


def one_line(row: Mapping[str, object]) -> str:
    """A result's row for a person: medians without their ranges, numbers in four digits."""
    shown = {
        key: f"{value:.4g}" if isinstance(value, float) else value
        for key, value in row.items()
        if not key.endswith(("_low", "_high"))
    }
    return "  ".join(f"{key} {value}" for key, value in shown.items())
