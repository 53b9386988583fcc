"""Sets of time intervals: how long they are, and how much of them they share. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

__all__ = ["Interval", "length", "shared", "union"]


class Interval(NamedTuple):
    """From `start` to `stop`, in seconds."""

    start: float
    stop: float


def union(intervals: Iterable[Interval]) -> list[Interval]:
    """The same time in disjoint intervals, in order; empty ones are left out."""
    merged: list[Interval] = []
    for start, stop in sorted(each for each in intervals if each.start < each.stop):
        if merged and start <= merged[-1].stop:
            merged[-1] = Interval(merged[-1].start, max(merged[-1].stop, stop))
        else:
            merged.append(Interval(start, stop))
    return merged


def length(intervals: Iterable[Interval]) -> float:
    """Seconds in at least one of them."""
    return sum(stop - start for start, stop in union(intervals))


def shared(some: Iterable[Interval], others: Iterable[Interval]) -> float:
    """Seconds in at least one of `some` and at least one of `others`."""
    some, others = list(some), list(others)
    return length(some) + length(others) - length([*some, *others])
