"""Importance ratios between the policy being trained and the one that sampled.

Pure, unreduced, fp32.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

__all__ = ["MAX_LOG_RATIO", "importance_ratio", "truncate"]

MAX_LOG_RATIO = 20.0
"""Log-ratios beyond it are clamped before exponentiation: exp(20) is still far from overflow."""


def importance_ratio(new_logprobs: Array, sampler_logprobs: Array) -> Array:
    """Per-token `r = pi_new(a | s) / mu(a | s)`, `[B, T]`.

    `mu` is what the token was drawn from, so behaviour of any age and any sampling engine is
    corrected. No gradient reaches `sampler_logprobs`.
    """
    log_ratio = new_logprobs - jax.lax.stop_gradient(sampler_logprobs)
    return jnp.exp(jnp.clip(log_ratio, -MAX_LOG_RATIO, MAX_LOG_RATIO))


def truncate(ratio: Array, cap: float) -> Array:
    """Value `min(r, cap)`, gradient `min(r, cap) * grad log r`: capped tokens still learn.

    A plain minimum would silence every token above the cap; scaling by the detached factor
    `min(r, cap) / r` bounds its weight instead. Reference: truncated importance sampling, Ionides
    2008; for sampler-trainer mismatch, Yao et al. 2025 ("Your efficient RL framework secretly
    brings you off-policy RL training").
    """
    return ratio * jax.lax.stop_gradient(jnp.minimum(ratio, cap) / ratio)
