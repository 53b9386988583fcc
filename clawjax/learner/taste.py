"""What one user likes, as far as their reactions tell: a small reward model, fitted anew each time.

A style shows in what the frozen base model makes of a reply while reading it: whether it ends in a
question, in the state before its end; whether it is formal, in the states on average. It shows on
the surface (`clawjax.learner.stylometry`), and in what the reply does (`clawjax.learner.manner`),
above all where reactions name it (`clawjax.learner.spoken`). A ridge regression on the three views,
of equal say, learns from tens of reactions what a fine-tuned reward model needs thousands for. Pure
numpy, fp64.
Invariants: a prediction is an estimate of a score, in [-1, 1], and shrinks towards the mean score
where reactions say little; no feature counts for more than it was seen to vary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from clawjax.learner.manner import manner
from clawjax.learner.spoken import attention
from clawjax.learner.stylometry import stylometry

__all__ = [
    "Taste",
    "Views",
    "certainty",
    "even",
    "features",
    "fit_taste",
    "foresight",
    "heeding",
    "known_share",
    "read_layers",
    "stacked",
]

Views = tuple[np.ndarray, ...]
"""Ways to see a reply `[F_v]`, or N replies `[N, F_v]`; each has the same say."""

_DEPTHS = (0.5, 0.8)
"""Of the layers that are read, as shares of all: below, words; above, the next token."""
_RIDGE = 1.0
_TINY = 1e-3
_SURE, _LEAST_SURE = 3.0, 0.02
"""How fast a verdict's weight falls with its score: of those of .5 to .7 by the packaged judge one
in three was wrong in trials, of those above .8 one in fifty."""
_FARTHEST = 3.0
"""Deviations from the mean: a habit hardly seen before says no more than that."""


class Taste(NamedTuple):
    """A fitted regression."""

    mean: Views
    """`[F_v]` each, of the replies that it was fitted on."""
    scale: Views
    """`[F_v]` each, their deviations."""
    say: Views
    """`[F_v]` each: which share of a view's say every feature has; they sum to 1."""
    weights: np.ndarray
    """`[F]`, of standardised features of all views."""
    score: float
    """The mean score."""

    def predict(self, found: Views) -> np.ndarray:
        """Scores `[N]` in [-1, 1] of N replies."""
        standard = _standard(found, self.mean, self.scale, self.say)
        return np.clip(self.score + standard @ self.weights, -1.0, 1.0)


def read_layers(num_layers: int) -> tuple[int, ...]:
    """Which layers' states to read, counted from 0."""
    return tuple(min(num_layers - 1, round(num_layers * share)) for share in _DEPTHS)


def features(states: np.ndarray, text: str) -> Views:
    """One reply's views: from states `[R, L, D]` after each of its tokens, its surface, its manner.

    The first, `[3 * L * D]`, is the states' mean, the last, which has read the end, and the one
    before it, which has not. In fp64.
    """
    before_end = states[-2] if len(states) > 1 else states[-1]
    parts = (states.mean(axis=0, dtype=np.float64), states[-1], before_end)
    read = np.concatenate([part.astype(np.float64).ravel() for part in parts])
    return read, stylometry(text), manner(text)


def stacked(replies: Sequence[Views]) -> Views:
    """The views of several replies, `[N, F_v]` each."""
    return tuple(np.stack(view) for view in zip(*replies, strict=True))


def even(found: Views) -> Views:
    """Every feature of a view has the same share of its say, `[F_v]` each."""
    return tuple(np.full(view.shape[1], 1.0 / view.shape[1]) for view in found)


def heeding(reactions: Sequence[str], found: Views) -> Views:
    """`even`, but the habits have what say these words give them (`attention`).

    Args:
        reactions: what was said of replies.
        found: as of `features`, stacked: the last view is the manner of replies.
    """
    return (*even(found[:-1]), attention(reactions))


def fit_taste(found: Views, scores: Sequence[float], say: Views | None = None) -> Taste:
    """The ridge regression of scores on standardised features, in its dual form.

    `w = Z^T (Z Z^T + ridge C^-1)^-1 (s - mean(s))`, where features are multiplied by the root of
    their share of a view's say: as many features as you like cost the solution of one system of N
    equations, and `Z Z^T` is the sum over views of a weighted mean over their features. C is how
    much each score counts (`certainty`), in the mean too.

    Args:
        found: of N replies.
        scores: theirs, in [-1, 1].
        say: `[F_v]` each; None: `even`.

    Reference: Saunders et al. 1998, "Ridge regression learning algorithm in dual variables".
    """
    say = even(found) if say is None else say
    mean, scale = _spread(found)
    standard, sure = _standard(found, mean, scale, say), certainty(scores)
    middle = float(np.average(scores, weights=sure))
    dual = _dual(standard @ standard.T, np.asarray(scores, np.float64) - middle, sure)
    return Taste(mean, scale, say, standard.T @ dual, middle)


def foresight(found: Views, scores: Sequence[float], say: Views | None = None) -> float:
    """How well reactions could have been foreseen: a correlation, about 0 where nothing is known.

    Of each score with its prediction by a regression on all others, both as what they are above
    the mean of those, weighted by `certainty`; 0 where the scores are all alike.
    """
    standard = _standard(found, *_spread(found), even(found) if say is None else say)
    kernel, given, sure = standard @ standard.T, np.asarray(scores, np.float64), certainty(scores)
    foreseen, real = np.zeros(len(given)), np.zeros(len(given))
    for index in range(len(given)):
        others = np.arange(len(given)) != index
        middle = np.average(given[others], weights=sure[others])
        dual = _dual(kernel[np.ix_(others, others)], given[others] - middle, sure[others])
        foreseen[index], real[index] = kernel[index, others] @ dual, given[index] - middle
    spread = float(np.sqrt((sure @ foreseen**2) * (sure @ real**2)))
    return float(sure @ (foreseen * real)) / spread if spread > 0 else 0.0


def certainty(scores: Sequence[float]) -> np.ndarray:
    """How much each score counts, `[N]` in (0, 1]: `(|s| / max |s|)^3`, and a little at least.

    A judge's score is how sure it is; it errs where it is not. Somebody who never gives more than
    half marks is as sure as others are.
    """
    size = np.abs(np.asarray(scores, np.float64))
    return np.maximum((size / max(size.max(), _TINY)) ** _SURE, _LEAST_SURE)


def known_share(foreseen: float, count: int, *, full: float) -> float:
    """How far a taste is known, in [0, 1]: `min(1, max(0, r^2 - 2 / N) / full^2)`.

    Where reactions have nothing to do with the replies, the square of r is about 2 / N on average,
    as simulated (`tests/learner/test_taste.py`); of independent pairs it would be 1 / N.

    Args:
        foreseen: r, as `foresight` has it; below 0 nothing is known.
        count: N, the reactions it is over.
        full: the correlation that counts as full knowledge. Reactions come as yes or no, some are
            misread and most say the same, so that whose taste is known well enough to put nine
            pairs of replies in ten in order is foreseen to .5 only.
    """
    return min(1.0, max(0.0, max(0.0, foreseen) ** 2 - 2.0 / count) / full**2)


def _spread(found: Views) -> tuple[Views, Views]:
    mean = tuple(view.mean(axis=0) for view in found)
    return mean, tuple(view.std(axis=0) + _TINY for view in found)


def _standard(found: Views, mean: Views, scale: Views, say: Views) -> np.ndarray:
    """`[N, F]`, all views side by side."""
    parts = [
        np.clip((view - middle) / deviation, -_FARTHEST, _FARTHEST) * np.sqrt(share)
        for view, middle, deviation, share in zip(found, mean, scale, say, strict=True)
    ]
    return np.concatenate(parts, axis=1)


def _dual(kernel: np.ndarray, above: np.ndarray, sure: np.ndarray) -> np.ndarray:
    return np.linalg.solve(kernel + np.diag(_RIDGE / sure), above)
