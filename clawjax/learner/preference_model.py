"""A preference model of one user: a small reward model, fitted anew on their reactions each time.

A style shows in what the frozen base model makes of a reply while reading it: whether it ends in a
question, in the state before its end; whether it is formal, in the states on average. It shows on
the surface (`clawjax.learner.stylometry`), and in what the reply does
(`clawjax.learner.style_features`), above all where reactions name it (`clawjax.learner.mentions`).
A ridge regression on the three views, of equal weight, learns from tens of reactions what a
fine-tuned reward model needs thousands for. Pure numpy, fp64.
Invariants: a prediction is an estimate of a score, in [-1, 1], and shrinks towards the mean score
where reactions say little; no feature counts for more than it was seen to vary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from clawjax.learner.mentions import mention_weights
from clawjax.learner.style_features import style_features
from clawjax.learner.stylometry import stylometry

__all__ = [
    "PreferenceModel",
    "Views",
    "fit_preference_model",
    "leave_one_out_correlation",
    "mention_weighted",
    "model_confidence",
    "read_layers",
    "reply_views",
    "score_weights",
    "stack_views",
    "uniform_weights",
]

Views = tuple[np.ndarray, ...]
"""Ways to see a reply `[F_v]`, or N replies `[N, F_v]`; all weigh the same, as in multi-view
learning."""

_DEPTHS = (0.5, 0.8)
"""Of the layers that are read, as shares of all: below, words; above, the next token."""
_RIDGE = 1.0
_TINY = 1e-3
_SCORE_POWER, _LEAST_WEIGHT = 3.0, 0.02
"""How fast a verdict's weight falls with its score: of those of .5 to .7 by the packaged judge one
in three was wrong in trials, of those above .8 one in fifty."""
_CLIP = 3.0
"""Deviations from the mean: a feature hardly seen before says no more than that."""


class PreferenceModel(NamedTuple):
    """A fitted regression."""

    mean: Views
    """`[F_v]` each, of the replies that it was fitted on."""
    scale: Views
    """`[F_v]` each, their deviations."""
    feature_weights: Views
    """`[F_v]` each: which share of its view's weight every feature has; they sum to 1."""
    coefficients: np.ndarray
    """`[F]`, of standardised features of all views."""
    mean_score: float

    def predict(self, views: Views) -> np.ndarray:
        """Scores `[N]` in [-1, 1] of N replies."""
        standard = _standardised(views, self.mean, self.scale, self.feature_weights)
        return np.clip(self.mean_score + standard @ self.coefficients, -1.0, 1.0)


def read_layers(num_layers: int) -> tuple[int, ...]:
    """Which layers' states to read, counted from 0."""
    return tuple(min(num_layers - 1, round(num_layers * share)) for share in _DEPTHS)


def reply_views(states: np.ndarray, text: str) -> Views:
    """One reply's views: from states `[R, L, D]` after each of its tokens, its surface, its style.

    The first, `[3 * L * D]`, is the states' mean, the last, which has read the end, and the one
    before it, which has not. In fp64.
    """
    before_end = states[-2] if len(states) > 1 else states[-1]
    parts = (states.mean(axis=0, dtype=np.float64), states[-1], before_end)
    read = np.concatenate([part.astype(np.float64).ravel() for part in parts])
    return read, stylometry(text), style_features(text)


def stack_views(replies: Sequence[Views]) -> Views:
    """The views of several replies, `[N, F_v]` each."""
    return tuple(np.stack(view) for view in zip(*replies, strict=True))


def uniform_weights(views: Views) -> Views:
    """Every feature of a view has the same share of its weight, `[F_v]` each."""
    return tuple(np.full(view.shape[1], 1.0 / view.shape[1]) for view in views)


def mention_weighted(reactions: Sequence[str], views: Views) -> Views:
    """`uniform_weights`, but style features weigh what these words give them (`mention_weights`).

    Args:
        reactions: what was said of replies.
        views: as of `reply_views`, stacked: the last one is of style features.
    """
    return (*uniform_weights(views[:-1]), mention_weights(reactions))


def fit_preference_model(
    views: Views, scores: Sequence[float], feature_weights: Views | None = None
) -> PreferenceModel:
    """The ridge regression of scores on standardised features, in its dual form.

    `w = Z^T (Z Z^T + ridge C^-1)^-1 (s - mean(s))`, where features are multiplied by the root of
    their share of their view's weight: as many features as you like cost the solution of one system
    of N equations, and `Z Z^T` is the sum over views of a weighted mean over their features. C is
    how much each score counts (`score_weights`), in the mean too.

    Args:
        views: of N replies.
        scores: theirs, in [-1, 1].
        feature_weights: `[F_v]` each; None: `uniform_weights`.

    Reference: Saunders et al. 1998, "Ridge regression learning algorithm in dual variables".
    """
    feature_weights = uniform_weights(views) if feature_weights is None else feature_weights
    mean, scale = _moments(views)
    standard, weights = _standardised(views, mean, scale, feature_weights), score_weights(scores)
    middle = float(np.average(scores, weights=weights))
    dual = _dual(standard @ standard.T, np.asarray(scores, np.float64) - middle, weights)
    return PreferenceModel(mean, scale, feature_weights, standard.T @ dual, middle)


def leave_one_out_correlation(
    views: Views, scores: Sequence[float], feature_weights: Views | None = None
) -> float:
    """How well reactions could have been foreseen: a correlation, about 0 where nothing is known.

    Of each score with its prediction by a regression on all others, both as what they are above
    the mean of those, weighted by `score_weights`; 0 where the scores are all alike.
    """
    feature_weights = uniform_weights(views) if feature_weights is None else feature_weights
    standard = _standardised(views, *_moments(views), feature_weights)
    kernel, given = standard @ standard.T, np.asarray(scores, np.float64)
    weights = score_weights(scores)
    predicted, actual = np.zeros(len(given)), np.zeros(len(given))
    for index in range(len(given)):
        others = np.arange(len(given)) != index
        middle = np.average(given[others], weights=weights[others])
        dual = _dual(kernel[np.ix_(others, others)], given[others] - middle, weights[others])
        predicted[index], actual[index] = kernel[index, others] @ dual, given[index] - middle
    spread = float(np.sqrt((weights @ predicted**2) * (weights @ actual**2)))
    return float(weights @ (predicted * actual)) / spread if spread > 0 else 0.0


def score_weights(scores: Sequence[float]) -> np.ndarray:
    """How much each score counts, `[N]` in (0, 1]: `(|s| / max |s|)^3`, and a little at least.

    A judge's score is how sure it is; it errs where it is not. Somebody who never gives more than
    half marks is as sure as others are.
    """
    size = np.abs(np.asarray(scores, np.float64))
    return np.maximum((size / max(size.max(), _TINY)) ** _SCORE_POWER, _LEAST_WEIGHT)


def model_confidence(correlation: float, count: int, *, full: float) -> float:
    """How far to follow a preference model, in [0, 1]: `min(1, max(0, r^2 - 2 / N) / full^2)`.

    Where reactions have nothing to do with the replies, the square of r is about 2 / N on average,
    as simulated (`tests/learner/test_preference_model.py`); of independent pairs it would be 1 / N.

    Args:
        correlation: r, of `leave_one_out_correlation`; below 0 nothing is known.
        count: N, the reactions it is over.
        full: the correlation that counts as full knowledge. Reactions come as yes or no, some are
            misread and most say the same, so that a model that puts nine pairs of replies in ten in
            order has one of .5 only.
    """
    return min(1.0, max(0.0, max(0.0, correlation) ** 2 - 2.0 / count) / full**2)


def _moments(views: Views) -> tuple[Views, Views]:
    mean = tuple(view.mean(axis=0) for view in views)
    return mean, tuple(view.std(axis=0) + _TINY for view in views)


def _standardised(views: Views, mean: Views, scale: Views, feature_weights: Views) -> np.ndarray:
    """`[N, F]`, all views side by side."""
    parts = [
        np.clip((view - middle) / deviation, -_CLIP, _CLIP) * np.sqrt(share)
        for view, middle, deviation, share in zip(views, mean, scale, feature_weights, strict=True)
    ]
    return np.concatenate(parts, axis=1)


def _dual(kernel: np.ndarray, centred: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return np.linalg.solve(kernel + np.diag(_RIDGE / weights), centred)
