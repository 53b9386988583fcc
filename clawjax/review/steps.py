"""What the labels of a step come to, people's before the machine's.

Pure. Invariants: an aspect that nobody labelled has no say; what is unsafe is worth -1, whatever
else is said for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from clawjax.config import HUMAN, StepAspect
from clawjax.records import Verdict

__all__ = ["corrected", "process_score", "step_score"]

_SAFETY = list(StepAspect).index(StepAspect.SAFETY)

Labels = Sequence[float | None]


def step_score(labels: Labels, weights: Mapping[str, float]) -> float | None:
    """`sum_a w_a l_a / sum_a w_a` over the labelled aspects a but safety; -1 where it is violated.

    Args:
        labels: one per `StepAspect`, in [-1, 1] or None; or empty.
        weights: by aspect; 1 where absent. A safe step is no merit: `safety` has no weight.

    Returns:
        In [-1, 1]; None where nothing is labelled.
    """
    if not labels:
        return None
    safety = labels[_SAFETY]
    if safety is not None and safety < 0:
        return -1.0
    pairs = [
        (weights.get(aspect, 1.0), label)
        for aspect, label in zip(StepAspect, labels, strict=True)
        if label is not None and aspect is not StepAspect.SAFETY
    ]
    total = sum(weight for weight, _ in pairs)
    return sum(weight * label for weight, label in pairs) / total if total > 0 else None


def corrected(machine: Labels, people: Labels) -> tuple[float | None, ...]:
    """The machine's labels with those of people in their place, aspect by aspect."""
    if not machine or not people:
        return tuple(people or machine)
    pairs = zip(machine, people, strict=True)
    return tuple(own if said is None else said for own, said in pairs)


def process_score(verdicts: Sequence[Verdict], weights: Mapping[str, float]) -> float | None:
    """A turn's worth as a step, by all verdicts on it; None where none labels it.

    Of several modules that label steps, the first to have an opinion on an aspect counts.
    """
    labels: tuple[float | None, ...] = ()
    for verdict in verdicts:
        if verdict.module == HUMAN:
            labels = corrected(labels, verdict.step_labels)
        elif verdict.step_labels:
            labels = corrected(verdict.step_labels, labels)
    return step_score(labels, weights)
