"""Distillation over the tokens that matter: K of the vocabulary, and one bin for all others.

Pure, unreduced over positions, fp32, from the log-probs of the support alone, which
`clawjax.learner.logprobs` computes in chunks of positions: `[B, T, V]` never exists. Both sides
must be at the same temperature. Invariant: gradient flows through the student only.
"""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
from jax import Array

__all__ = ["MIN_TAIL", "log1mexp", "support_reverse_kl"]

MIN_TAIL = 1e-6
"""Mass below which a tail is rounding: 1 minus a sum of fp32 probabilities says no more."""


def support_reverse_kl(student_logprobs: Array, teacher_logprobs: Array) -> Array:
    """`sum_k p_k log(p_k / q_k) + p_tail log(p_tail / q_tail)`: two of `[..., K]` to `[...]`.

    `p` is the student, `q` the teacher, and `tail` the mass that each gives to the tokens off the
    support. By the data-processing inequality this is at most KL(p || q) over the vocabulary; it
    is that KL where K = V, and 0 where the two agree on the support. A tail is taken to be at
    least `MIN_TAIL`, so that a teacher certain of its support bounds the loss of a student that
    is not, instead of making it infinite.

    Args:
        student_logprobs: of tokens without repetition, normalised over the whole vocabulary.
        teacher_logprobs: likewise, of the same tokens; without gradient.

    Reference: reverse KL on the student's own samples, Agarwal et al. 2023, arXiv:2306.13649;
    Gu et al. 2023, arXiv:2306.08543.
    """
    chex.assert_equal_shape([student_logprobs, teacher_logprobs])
    teacher = jax.lax.stop_gradient(teacher_logprobs)
    on_support = jnp.sum(_p_log_ratio(student_logprobs, teacher), axis=-1)
    return on_support + _p_log_ratio(_log_tail(student_logprobs), _log_tail(teacher))


def log1mexp(x: Array) -> Array:
    """`log(1 - exp(x))` for `x < 0` without cancellation, whichever end x is near.

    Reference: Mächler 2012, "Accurately computing log(1 - exp(-|a|))".
    """
    is_near_zero = x > -jnp.log(2.0)
    # Each branch sees only what it can take: where() passes gradients, and their nan, through both.
    near = jnp.log(-jnp.expm1(jnp.where(is_near_zero, x, -1.0)))
    far = jnp.log1p(-jnp.exp(jnp.where(is_near_zero, -1.0, x)))
    return jnp.where(is_near_zero, near, far)


def _log_tail(logprobs: Array) -> Array:
    """Log of the mass off the support, `[..., K]` to `[...]`; no gradient below `MIN_TAIL`."""
    log_mass = jax.nn.logsumexp(logprobs, axis=-1)
    return log1mexp(jnp.minimum(log_mass, jnp.log1p(-MIN_TAIL)))


def _p_log_ratio(log_p: Array, log_q: Array) -> Array:
    """`p log(p / q)`, 0 where p is."""
    p = jnp.exp(log_p)
    is_positive = p > 0
    return jnp.where(is_positive, p * (jnp.where(is_positive, log_p, 0.0) - log_q), 0.0)
