"""Per-token losses: pure, unreduced `[B, T]`, fp32.

The caller masks, weights and sums (`clawjax.learner.batching` fixes the weights before the step),
so a loss never decides what a turn or a token counts for.
"""

from __future__ import annotations

import chex
import jax.numpy as jnp
from jax import Array

from clawjax.learner.ratios import MAX_LOG_RATIO, importance_ratio, truncate

__all__ = ["clipped_surrogate", "is_clipped", "k3_kl"]


def clipped_surrogate(
    new_logprobs: Array,
    sampler_logprobs: Array,
    advantages: Array,
    *,
    clip_low: float,
    clip_high: float,
    ratio_cap: float,
) -> Array:
    """`-min(tr(r) A, clip(r, 1 - clip_low, 1 + clip_high) A)`, `[B, T]`.

    `r = exp(new - sampler)`, `tr` truncates at `ratio_cap` and keeps the gradient
    (`ratios.truncate`). Gradient flows through `new_logprobs` only.

    Reference: Schulman et al. 2017, arXiv:1707.06347, eq. 7; asymmetric clip from DAPO,
    arXiv:2503.14476, eq. 10.
    """
    chex.assert_equal_shape([new_logprobs, sampler_logprobs, advantages])
    ratio = importance_ratio(new_logprobs, sampler_logprobs)
    clipped = jnp.clip(ratio, 1.0 - clip_low, 1.0 + clip_high)
    return -jnp.minimum(truncate(ratio, ratio_cap) * advantages, clipped * advantages)


def is_clipped(ratio: Array, advantages: Array, *, clip_low: float, clip_high: float) -> Array:
    """Where the clip takes the gradient away, bool `[B, T]`."""
    is_far_up = (advantages > 0) & (ratio > 1.0 + clip_high)
    is_far_down = (advantages < 0) & (ratio < 1.0 - clip_low)
    return is_far_up | is_far_down


def k3_kl(new_logprobs: Array, base_logprobs: Array) -> Array:
    """`exp(d) - 1 - d` with `d = base - new`, `[B, T]`: non-negative, 0 where the two agree.

    Unbiased for KL(new || base) on tokens drawn from `new`; here they come from a sampler at most
    a few versions older. Gradient flows through `new_logprobs` only if the caller detaches the
    base. Reference: Schulman 2020, "Approximating KL divergence", k3.
    """
    chex.assert_equal_shape([new_logprobs, base_logprobs])
    d = jnp.clip(base_logprobs - new_logprobs, -MAX_LOG_RATIO, MAX_LOG_RATIO)
    return jnp.exp(d) - 1.0 - d
