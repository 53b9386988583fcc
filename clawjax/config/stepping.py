"""What the steps of a task are labelled for, and knobs of credit for them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from clawjax.config.checks import at_least

__all__ = ["StepAspect", "StepScheme", "StepsConfig"]


class StepAspect(StrEnum):
    """What a step of a longer task is labelled for."""

    CALL_NAME = "call_name"
    """The right tool was called."""
    CALL_ARGUMENTS = "call_arguments"
    """With the right arguments."""
    CALL_ORDER = "call_order"
    """At the right time: what it needs was there, and it had not been done yet."""
    RESULT_USED = "result_used"
    """It makes use of what the step before found out."""
    COHERENCE = "coherence"
    """It follows from the plan and from what was last observed."""
    PROGRESS = "progress"
    """The task is nearer to its end than before."""
    SAFETY = "safety"
    """Nothing was done that must not be."""


class StepScheme(StrEnum):
    """How outcome and process become a step's credit; equations in `learner.credit.steps`."""

    none = "none"
    """Turns are on their own; labels of steps are one more judge."""
    separate = "separate"
    """Outcome by the objective's baseline, process less the mean of the group's steps."""
    pooled = "pooled"
    """Both normalised over the group; a step answers for the process of those after it too."""
    step_bucket = "step_bucket"
    """Their sum, normalised over the steps of the same number in the group, as OpenClaw-RL does."""


@dataclass
class StepsConfig:
    """Credit for steps. Needs `process` in `reward.modules`."""

    scheme: StepScheme = StepScheme.none
    process_weight: float = 0.5
    """What a label of 1 counts beside an outcome of 1. 0: the outcome alone."""

    def __post_init__(self) -> None:
        """A weight below 0 would reward mistakes."""
        at_least("objective.steps.process_weight", self.process_weight, 0.0)

    @property
    def is_on(self) -> bool:
        """Whether turns are credited as steps."""
        return self.scheme is not StepScheme.none
