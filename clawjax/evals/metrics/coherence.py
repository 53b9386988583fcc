"""Proxies of a coherent plan: there is no standard definition, so what is counted is plain.

A state is what the environment says it is (`StepResult.state`), and the observation where it says
nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from clawjax.evals.harness.trajectory import Executed, Trajectory

__all__ = ["Coherence", "coherence"]

_LONGEST_CYCLE = 4


class Coherence(NamedTuple):
    """Of one trajectory; each a share of the actions carried out, None where there are none."""

    repeated: float | None
    """Same action as the one before, with the same result."""
    looping: float | None
    """Actions within a cycle of up to four (action, state) pairs that goes round again at once."""
    revisited: float | None
    """Actions that lead back to a state seen before, from another one."""
    precondition: float | None
    """Actions that failed because something had to come first."""


def coherence(trajectory: Trajectory) -> Coherence:
    """Count what an incoherent plan does."""
    executed = trajectory.executed
    n = len(executed)
    if n == 0:
        return Coherence(None, None, None, None)
    pairs = [_pair(each) for each in executed]
    states = [_state(each) for each in executed]
    return Coherence(
        repeated=sum(a == b for a, b in pairwise(pairs)) / n,
        looping=len(_looping(pairs)) / n,
        revisited=_revisits(states) / n,
        precondition=sum(each.result.is_precondition for each in executed) / n,
    )


def _looping(pairs: Sequence[str]) -> set[int]:
    """Positions within a cycle that repeats what stood right before it."""
    found: set[int] = set()
    for length in range(1, _LONGEST_CYCLE + 1):
        for start in range(length, len(pairs) - length + 1):
            if pairs[start : start + length] == pairs[start - length : start]:
                found.update(range(start, start + length))
    return found


def _revisits(states: Sequence[str]) -> int:
    seen: set[str] = set()
    count, before = 0, None
    for state in states:
        count += state in seen and state != before
        seen.add(state)
        before = state
    return count


def _pair(each: Executed) -> str:
    return json.dumps([each.action.name, dict(each.action.arguments), _state(each)], sort_keys=True)


def _state(each: Executed) -> str:
    told = each.result.state if each.result.state is not None else each.result.observation
    return hashlib.sha256(told.encode("utf-8", "surrogatepass")).hexdigest()
