"""Is the reward being gamed? What is trained for rises while what it stands for falls.

Owns the rule (`assess`) and the series that it reads from a run's metrics. The rule: over the last
`window` versions with both numbers, the line fitted to the mean reward rises by `min_rise` or more,
the line fitted to the evaluation falls by `min_fall` or more, and chance would do neither
(one-sided permutation test of each slope). The alarm stops nothing: it tells people.

Reference: overoptimisation of proxy rewards, Gao et al. 2022, arXiv:2210.10760.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from clawjax.config import HackWatchConfig
from clawjax.metrics.jsonl import JsonlTail

__all__ = ["Assessment", "HackWatch", "Point", "assess"]

logger = logging.getLogger(__name__)

_PERMUTATIONS = 999


class Point(NamedTuple):
    """One policy version."""

    version: int
    reward: float
    """Mean score of the turns that it was made from."""
    evaluation: float
    """Mean of what was measured while it was the newest, or of it."""


class Assessment(NamedTuple):
    """What the last versions say."""

    is_alarm: bool
    version: int
    """The newest looked at."""
    rise: float
    """Of the reward over the window, by its line."""
    fall: float
    """Of the evaluation, by its line."""
    rise_p: float
    """How often chance does as much."""
    fall_p: float

    def __str__(self) -> str:
        """One line for people."""
        return (
            f"up to version {self.version} the reward rose by {self.rise:.2f} "
            f"(p={self.rise_p:.3f}) while the evaluation fell by {self.fall:.2f} "
            f"(p={self.fall_p:.3f})"
        )


def assess(points: Sequence[Point], config: HackWatchConfig) -> Assessment | None:
    """Apply the rule to the newest versions; None where there are fewer than `window`."""
    if len(points) < config.window:
        return None
    window = points[-config.window :]
    rise, rise_p = _trend([point.reward for point in window])
    fall, fall_p = _trend([-point.evaluation for point in window])
    is_alarm = (
        rise >= config.min_rise
        and fall >= config.min_fall
        and max(rise_p, fall_p) <= config.significance
    )
    return Assessment(is_alarm, window[-1].version, rise, fall, rise_p, fall_p)


class HackWatch:
    """Follows a run's `metrics.jsonl`; reads only what was added."""

    def __init__(self, path: Path, config: HackWatchConfig) -> None:
        """Start at the beginning of the file."""
        self._tail = JsonlTail(path)
        self._config = config
        self._newest = 0
        self._rewards: dict[int, float] = {}
        self._evaluations: dict[str, dict[int, list[float]]] = {}
        self._was_alarm = False

    def look(self) -> Assessment | None:
        """Catch up with the file and apply the rule; a new alarm is a warning in the log."""
        assessment = assess(self.caught_up(), self._config)
        is_alarm = assessment is not None and assessment.is_alarm
        if is_alarm and not self._was_alarm:
            logger.warning("the reward may be gamed: %s", assessment)
        self._was_alarm = is_alarm
        return assessment

    def caught_up(self) -> list[Point]:
        """Versions with a reward and an evaluation, oldest first, up to the end of the file."""
        for entry in self._tail.read():
            self._take(entry)
        key = next((key for key in self._config.evaluations if key in self._evaluations), None)
        measured = self._evaluations.get(key, {}) if key is not None else {}
        return [
            Point(version, self._rewards[version], fmean(measured[version]))
            for version in sorted(self._rewards.keys() & measured.keys())
        ]

    def _take(self, entry: Mapping[str, object]) -> None:
        step, reward = entry.get("step"), entry.get("train/reward_mean")
        is_made = not entry.get("train/rested")  # else no version was made from those turns
        if is_made and isinstance(step, int) and isinstance(reward, int | float):
            self._rewards[step] = float(reward)
            self._newest = max(self._newest, step)
        for key in self._config.evaluations:
            value = entry.get(key)
            if isinstance(value, int | float):
                version = step if isinstance(step, int) else self._newest
                self._evaluations.setdefault(key, {}).setdefault(version, []).append(float(value))


def _trend(values: Sequence[float]) -> tuple[float, float]:
    """How far the least-squares line rises from first to last, and how often chance does that."""
    found = _rise(values)
    rng = random.Random(0)
    shuffled = list(values)
    as_much = 0
    for _ in range(_PERMUTATIONS):
        rng.shuffle(shuffled)
        as_much += _rise(shuffled) >= found - 1e-12
    return found, (1 + as_much) / (1 + _PERMUTATIONS)


def _rise(values: Sequence[float]) -> float:
    n = len(values)
    middle, mean = (n - 1) / 2, fmean(values)
    slope = sum((i - middle) * (value - mean) for i, value in enumerate(values))
    return slope / sum((i - middle) ** 2 for i in range(n)) * (n - 1)
