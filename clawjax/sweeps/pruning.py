"""Ends trials that are behind the others. Imported where Optuna is installed."""

from __future__ import annotations

import math
from statistics import median

from optuna import Study
from optuna.pruners import BasePruner
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

__all__ = ["RunningMedianPruner"]


class RunningMedianPruner(BasePruner):
    """Ends a trial whose score so far is worse than the median of the others' at that step.

    Optuna's `MedianPruner` goes by the best score that a trial ever had, as of a loss that falls.
    Scores here are means over the parts so far: the newest one is what the trial is worth, and a
    first part that went well says little.
    """

    def __init__(self, trials: int, steps: int) -> None:
        """Prune nothing before so many trials are complete, nor before a trial's step `steps`."""
        self._trials, self._steps = trials, steps

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Whether the trial is to end; a score that is no number is behind all others."""
        step = trial.last_step
        if step is None or step < self._steps:
            return False
        complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        others = [
            value
            for each in complete
            if (value := each.intermediate_values.get(step)) is not None and math.isfinite(value)
        ]
        if len(complete) < max(1, self._trials) or not others:
            return False
        score = trial.intermediate_values[step]
        if math.isnan(score):
            return True
        if study.direction is StudyDirection.MINIMIZE:
            return score > median(others)
        return score < median(others)
