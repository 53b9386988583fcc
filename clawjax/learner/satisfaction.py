"""How content the users of a batch are, and how much of a step that leaves to take.

The better things are, the less there is to gain from a step and the more to lose: what is learnt
from few turns is uncertain by as much as ever, only now it leads away from something good.
Invariant: each user is judged by their own turns, so that who is unhappy among content ones is
heard.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from clawjax.learner.credit import AdmittedTurn, by_user

__all__ = ["mean_score", "satisfied_users", "step_scale"]


def mean_score(turns: Sequence[AdmittedTurn]) -> float | None:
    """Of the turns that have one, -1 to 1; None where none has."""
    scores = [admitted.score for admitted in turns if admitted.score is not None]
    return fmean(scores) if scores else None


def satisfied_users(turns: Sequence[AdmittedTurn], rest_above: float | None) -> set[str]:
    """Whose mean score leaves nothing to wish for; nobody's where `rest_above` is None."""
    if rest_above is None:
        return set()
    means = {user: mean_score(own) for user, own in by_user(turns).items()}
    return {user for user, mean in means.items() if mean is not None and mean > rest_above}


def step_scale(turns: Sequence[AdmittedTurn], rest_above: float | None) -> float:
    """The mean over users: all of a step, 1, at a mean score of -1, down to 0 at `rest_above`.

    In proportion in between. All of it where nothing has a score, and 0 only at a score of 1 where
    `rest_above` is None.
    """
    top = 1.0 if rest_above is None else rest_above
    shares = [_share(mean_score(own), top) for own in by_user(turns).values()]
    return fmean(shares) if shares else 1.0


def _share(mean: float | None, top: float) -> float:
    """One user's."""
    if mean is None or top <= -1.0:
        return 1.0
    return min(1.0, max(0.0, (top - mean) / (top + 1.0)))
