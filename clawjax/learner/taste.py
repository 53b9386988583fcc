"""What one user likes, as far as their reactions tell: a small reward model, fitted anew each time.

A style shows in what the frozen base model makes of a reply while reading it: whether it ends in a
question, in the state before its end; whether it is formal, in the states on average. A ridge
regression on those learns from tens of reactions what a fine-tuned reward model needs thousands
for. Pure numpy, fp64. Invariant: a prediction is an estimate of a score, in [-1, 1], and shrinks
towards the mean score where reactions say little.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

__all__ = ["Taste", "features", "fit_taste", "foresight", "read_layers"]

_DEPTHS = (0.5, 0.8)
"""Of the layers that are read, as shares of all: below, words; above, the next token."""
_RIDGE = 1.0
_TINY = 1e-3


class Taste(NamedTuple):
    """A fitted regression; arrays over F features."""

    mean: np.ndarray
    """`[F]`, of the features that it was fitted on."""
    scale: np.ndarray
    """`[F]`, their deviations."""
    weights: np.ndarray
    """`[F]`, of standardised features."""
    score: float
    """The mean score."""

    def predict(self, found: np.ndarray) -> np.ndarray:
        """Scores `[N]` in [-1, 1] of features `[N, F]`."""
        scores = self.score + (found - self.mean) / self.scale @ self.weights
        return np.clip(scores, -1.0, 1.0)


def read_layers(num_layers: int) -> tuple[int, ...]:
    """Which layers' states to read, counted from 0."""
    return tuple(min(num_layers - 1, round(num_layers * share)) for share in _DEPTHS)


def features(states: np.ndarray) -> np.ndarray:
    """One reply's features `[3 * L * D]` from states `[R, L, D]` after each of its tokens.

    Their mean, the last, which has read the end, and the one before it, which has not. In fp64.
    """
    before_end = states[-2] if len(states) > 1 else states[-1]
    parts = (states.mean(axis=0, dtype=np.float64), states[-1], before_end)
    return np.concatenate([part.astype(np.float64).ravel() for part in parts])


def fit_taste(found: np.ndarray, scores: Sequence[float]) -> Taste:
    """The ridge regression of scores on standardised features, in its dual form.

    `w = Z^T (Z Z^T / F + ridge I)^-1 (s - mean(s)) / F`, so that as many features as you like cost
    the solution of one system of N equations.

    Args:
        found: `[N, F]`, of N replies.
        scores: theirs, in [-1, 1].

    Reference: Saunders et al. 1998, "Ridge regression learning algorithm in dual variables".
    """
    mean, scale = found.mean(axis=0), found.std(axis=0) + _TINY
    standard, width = (found - mean) / scale, found.shape[1]
    middle = float(np.mean(scores))
    dual = _dual(standard @ standard.T / width, np.asarray(scores, np.float64) - middle)
    return Taste(mean, scale, standard.T @ dual / width, middle)


def foresight(found: np.ndarray, scores: Sequence[float]) -> float:
    """How well reactions could have been foreseen: a correlation, about 0 where nothing is known.

    Of each score with its prediction by a regression on all others, both as what they are above
    the mean of those; 0 where the scores are all alike.
    """
    standard = (found - found.mean(axis=0)) / (found.std(axis=0) + _TINY)
    kernel, given = standard @ standard.T / found.shape[1], np.asarray(scores, np.float64)
    foreseen, real = np.zeros(len(given)), np.zeros(len(given))
    for index in range(len(given)):
        others = np.arange(len(given)) != index
        middle = given[others].mean()
        dual = _dual(kernel[np.ix_(others, others)], given[others] - middle)
        foreseen[index], real[index] = kernel[index, others] @ dual, given[index] - middle
    spread = float(np.linalg.norm(foreseen) * np.linalg.norm(real))
    return float(foreseen @ real) / spread if spread > 0 else 0.0


def _dual(kernel: np.ndarray, above: np.ndarray) -> np.ndarray:
    return np.linalg.solve(kernel + _RIDGE * np.eye(len(above)), above)
