"""How content a batch's users are, and how much of a step that leaves to take.

The better things are, the less there is to gain from a step and the more to lose: what is learnt
from few turns is uncertain by as much as ever, only now it leads away from something good.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from clawjax.learner.credit import AdmittedTurn

__all__ = ["is_content", "mean_score", "step_share"]


def mean_score(turns: Sequence[AdmittedTurn]) -> float | None:
    """Of the turns that have one, -1 to 1; None where none has."""
    scores = [admitted.score for admitted in turns if admitted.score is not None]
    return fmean(scores) if scores else None


def is_content(turns: Sequence[AdmittedTurn], rest_above: float | None) -> bool:
    """Whether the mean score leaves nothing to wish for; never where `rest_above` is None."""
    mean = mean_score(turns)
    return rest_above is not None and mean is not None and mean > rest_above


def step_share(turns: Sequence[AdmittedTurn], rest_above: float | None) -> float:
    """All of a step, 1, at a mean score of -1, and in proportion down to 0 at `rest_above`.

    All of it where nothing has a score, and 0 only at a score of 1 where `rest_above` is None.
    """
    mean, top = mean_score(turns), 1.0 if rest_above is None else rest_above
    if mean is None or top <= -1.0:
        return 1.0
    return min(1.0, max(0.0, (top - mean) / (top + 1.0)))
