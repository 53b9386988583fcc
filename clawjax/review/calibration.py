"""How a judge's scores are to be corrected by what people said of the same turns.

Pure. Owns the map from scores to scores, `p = sigmoid(a logit((1 + s) / 2) + b)` with p and
`(1 + s) / 2` the probabilities that people find a turn good, and its fit. Invariants: without
labels nothing changes; the map never decreases; who abstained or cannot tell has no part in it; a
verdict is fitted by the score that its module gave, also where it was corrected since.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from clawjax.config import HUMAN, PROCESS
from clawjax.records import Verdict
from clawjax.review.reasons import disagreement

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "IDENTITY",
    "NEVER_CALIBRATED",
    "Calibration",
    "Fit",
    "Pair",
    "calibrate",
    "fit",
    "fit_modules",
    "pairs_of",
    "uncalibrated",
]

_COMPOSITE = "composite"
NEVER_CALIBRATED = (HUMAN, "feedback", PROCESS, _COMPOSITE)
"""People's own words; labels of steps, which people correct themselves; and what is made of parts,
each of which is calibrated before it has a say."""
_MOST = 0.98
"""Scores beyond are taken as this: a judge that is certain of everything is right 99 times in 100
until people say otherwise."""
_SLOPE_SD, _BIAS_SD = 0.25, 0.5
"""Of the Gaussian prior around the identity. Where |logit| is 2, slope and bias then may move it
equally far."""
_FOLDS = 10
_MOST_STEPS = 50


class Calibration(NamedTuple):
    """A judge's correction: a and b."""

    slope: float
    """At least 0. Below 1, the judge is more certain than it is right."""
    bias: float
    """In logits. Below 0, it flatters."""


IDENTITY = Calibration(1.0, 0.0)


class Pair(NamedTuple):
    """A turn that both have scored, in [-1, 1]."""

    judge: float
    people: float


class Fit(NamedTuple):
    """A correction, and what it is worth."""

    calibration: Calibration
    n: int
    """Turns it was fitted to."""
    log_loss_before: float
    """Mean cross-entropy of people's scores, as probabilities, with the judge's, in nats."""
    log_loss_after: float
    """The same of corrected scores, each by a fit to the other turns alone."""


def calibrate(score: float, calibration: Calibration) -> float:
    """`tanh(a atanh(s) + b / 2)`, which is `2 p - 1`; s is clipped to [-0.98, 0.98].

    In [-1, 1] and never an abstention, however small; the identity changes nothing.
    """
    if calibration == IDENTITY:
        return score
    inner = min(_MOST, max(-_MOST, score))
    return math.tanh(calibration.slope * math.atanh(inner) + calibration.bias / 2)


def fit(pairs: Sequence[Pair]) -> Calibration:
    """The maximum a posteriori slope and bias, by Newton's method.

    Minimises `-sum_i (q_i log p_i + (1 - q_i) log(1 - p_i)) + ((a - 1) / 0.25)^2 / 2 +
    (b / 0.5)^2 / 2` over `a >= 0`, with the soft targets `q_i = (1 + people_i) / 2`.

    Reference: Platt 1999, "Probabilistic outputs for support vector machines", without his
    smoothing of targets, whose part the prior has.
    """
    if not pairs:
        return IDENTITY
    logits, targets = _logits(pairs), _targets(pairs)
    columns = np.stack([logits, np.ones_like(logits)], axis=1)
    spread = np.array([_SLOPE_SD, _BIAS_SD])
    slope, bias = _logistic(columns, targets, np.array(IDENTITY), spread**-2)
    if slope < 0:  # convex: the optimum then has a slope of 0
        (bias,) = _logistic(columns[:, 1:], targets, np.zeros(1), spread[1:] ** -2)
        slope = 0.0
    return Calibration(float(slope), float(bias))


def fit_modules(pairs: Mapping[str, Sequence[Pair]]) -> Mapping[str, Fit]:
    """A fit per module that has pairs, by name."""
    return {module: _measured(given) for module, given in sorted(pairs.items()) if given}


def pairs_of(turns: Sequence[Sequence[Verdict]]) -> Mapping[str, Sequence[Pair]]:
    """What modules, and parts of composites, scored on turns that people decided.

    Args:
        turns: the verdicts on each; those without a decided one of people are left out.
    """
    met: dict[str, list[Pair]] = {}
    for verdicts in turns:
        said = next((v.score for v in verdicts if v.module == HUMAN), None)
        if not said:
            continue
        for module, score in (each for verdict in verdicts for each in _scores(verdict)):
            if score is not None and module not in NEVER_CALIBRATED:
                met.setdefault(module, []).append(Pair(score, said))
    return met


def uncalibrated(module: str) -> str:
    """The name of the component that keeps the score which a module gave itself."""
    return f"{module}.uncalibrated"


def _scores(verdict: Verdict) -> Iterator[tuple[str, float | None]]:
    """By module, as it gave them itself."""
    kept = {component.module: component.score for component in verdict.components}
    if verdict.module != _COMPOSITE:
        yield verdict.module, kept.get(uncalibrated(verdict.module), verdict.score)
        return
    beside = {about(name) for name in kept for about in (uncalibrated, disagreement)}
    for name, score in kept.items():
        if name not in beside:
            yield name, kept.get(uncalibrated(name), score)


def _measured(pairs: Sequence[Pair]) -> Fit:
    return Fit(
        calibration=fit(pairs),
        n=len(pairs),
        log_loss_before=_log_loss(_logits(pairs), _targets(pairs)),
        log_loss_after=_held_out_loss(pairs),
    )


def _held_out_loss(pairs: Sequence[Pair]) -> float:
    """By cross-validation in at most 10 folds; every turn is its own where there are fewer."""
    folds = min(_FOLDS, len(pairs))
    corrected = np.empty(len(pairs))
    for fold in range(folds):
        others = [pair for number, pair in enumerate(pairs) if number % folds != fold]
        slope, bias = fit(others)
        corrected[fold::folds] = slope * _logits(pairs[fold::folds]) + bias
    return _log_loss(corrected, _targets(pairs))


def _logits(pairs: Sequence[Pair]) -> NDArray[np.float64]:
    scores = np.array([pair.judge for pair in pairs], np.float64)
    return 2.0 * np.arctanh(np.clip(scores, -_MOST, _MOST))


def _targets(pairs: Sequence[Pair]) -> NDArray[np.float64]:
    return (1.0 + np.array([pair.people for pair in pairs], np.float64)) / 2.0


def _log_loss(logits: NDArray[np.float64], targets: NDArray[np.float64]) -> float:
    return float(np.mean(np.logaddexp(0.0, logits) - targets * logits))


def _logistic(
    columns: NDArray[np.float64],
    targets: NDArray[np.float64],
    centre: NDArray[np.float64],
    precision: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Logistic regression `[K]` on `columns` `[N, K]` under a Gaussian prior `[K]`, by Newton."""

    def loss(at: NDArray[np.float64]) -> float:
        prior = 0.5 * float(precision @ (at - centre) ** 2)
        return len(targets) * _log_loss(columns @ at, targets) + prior

    at = centre
    for _ in range(_MOST_STEPS):
        p = 0.5 * (1.0 + np.tanh(0.5 * (columns @ at)))
        gradient = columns.T @ (p - targets) + precision * (at - centre)
        hessian = (columns.T * (p * (1.0 - p))) @ columns + np.diag(precision)
        step = np.linalg.solve(hessian, gradient)
        while loss(at - step) > loss(at) and np.abs(step).max() > 1e-12:
            step = step / 2
        at = at - step
        if np.abs(step).max() < 1e-9:
            break
    return at
