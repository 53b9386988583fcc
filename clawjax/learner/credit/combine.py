"""From the verdicts on a turn to the one score that the objective sees.

Invariant: an abstention never becomes a number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from clawjax.records import Verdict

__all__ = ["EXPLICIT_FEEDBACK", "combine"]

EXPLICIT_FEEDBACK = "feedback"
"""The module whose score, given by a person on purpose, overrules all others."""


def combine(verdicts: Sequence[Verdict], weights: Mapping[str, float]) -> float | None:
    """Explicit feedback where there is any, else the weighted mean of the scores there are.

    Args:
        verdicts: at most one per module.
        weights: per module; 1 where absent. A module of weight 0 is recorded but has no say.

    Returns:
        A score in [-1, 1], or None where every module with a say abstained.
    """
    scores = {v.module: v.score for v in verdicts if v.score is not None}
    if EXPLICIT_FEEDBACK in scores:
        return scores[EXPLICIT_FEEDBACK]
    total = sum(weights.get(module, 1.0) for module in scores)
    if total <= 0:
        return None
    return sum(weights.get(module, 1.0) * score for module, score in scores.items()) / total
