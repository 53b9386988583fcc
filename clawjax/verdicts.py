"""From the verdicts on a turn to its one score: what trains, and what is told of it.

Invariant: an abstention never becomes a number.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from clawjax.config import HUMAN
from clawjax.records import Verdict

__all__ = ["EXPLICIT_FEEDBACK", "combine", "first_said", "says_something"]

EXPLICIT_FEEDBACK = "feedback"
"""The module whose score, given by the user on purpose, overrules all others but a review's."""
_OVERRULING = (HUMAN, EXPLICIT_FEEDBACK)


def combine(verdicts: Sequence[Verdict], weights: Mapping[str, float]) -> float | None:
    """People's review, else explicit feedback, else the weighted mean of the scores there are.

    Args:
        verdicts: at most one per module.
        weights: per module; 1 where absent. A module of weight 0 is recorded but has no say.

    Returns:
        A score in [-1, 1], or None where every module with a say abstained.
    """
    scores = {v.module: v.score for v in verdicts if v.score is not None}
    for module in _OVERRULING:
        if module in scores:
            return scores[module]
    total = sum(weights.get(module, 1.0) for module in scores)
    if total <= 0:
        return None
    return sum(weights.get(module, 1.0) * score for module, score in scores.items()) / total


def first_said(verdicts: Iterable[Verdict]) -> tuple[Verdict, ...]:
    """One verdict per module: the first that says something, else its first.

    That is what a turn log keeps of verdicts on one turn that are added in this order.
    """
    by_module: dict[str, Verdict] = {}
    for verdict in verdicts:
        kept = by_module.setdefault(verdict.module, verdict)
        if not says_something(kept) and says_something(verdict):
            by_module[verdict.module] = verdict
    return tuple(by_module.values())


def says_something(verdict: Verdict) -> bool:
    """Whether there is anything to learn from in it; an abstention has words at most."""
    has_label = any(label is not None for label in verdict.step_labels)
    is_said = verdict.score is not None or verdict.revision is not None
    return is_said or bool(verdict.hints) or has_label
