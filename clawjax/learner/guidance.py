"""A teacher that goes further than what it read would take it.

Reading something moves a small model part of the way only. The direction of that move is known,
and can be followed beyond it. Pure, on the host, fp32 over the tokens of a support and their tail.
"""

from __future__ import annotations

import numpy as np

from clawjax.learner.topk import MIN_TAIL

__all__ = ["guided"]


def guided(told: np.ndarray, untold: np.ndarray, weight: float) -> np.ndarray:
    """Normalised `log told + weight (log told - log untold)`: two of `[R, K]` to `[R, K]`.

    The tokens off the support are one more outcome, with all of the mass that is left to them, so
    that a weight of 0 changes nothing. Where both agree, nothing changes at any weight.

    Args:
        told: log-probs of K tokens at each of R places, for whom has read what there is to know.
        untold: of the same tokens, for the same model without it.
        weight: how much further to go; 1 doubles the log-odds that reading has moved.

    Reference: classifier-free guidance, Ho & Salimans 2022, arXiv:2207.12598, eq. 6; for language
    models, Sanchez et al. 2023, arXiv:2306.17806, eq. 7.
    """
    with_tail, without = _with_tail(told), _with_tail(untold)
    moved = with_tail + weight * (with_tail - without)
    return (moved - np.logaddexp.reduce(moved, axis=-1, keepdims=True))[:, :-1]


def _with_tail(logprobs: np.ndarray) -> np.ndarray:
    """`[R, K + 1]`: the mass off the support comes last, at least `MIN_TAIL` of it."""
    mass = np.exp(logprobs).sum(axis=-1, keepdims=True)
    return np.concatenate([logprobs, np.log(np.maximum(1.0 - mass, MIN_TAIL))], axis=-1)
