"""Losses: pure, unreduced `[B, T]`, fp32.

The caller masks, weights and sums (`clawjax.learner.batching` fixes the weights before the step),
so a loss never decides what a turn or a token counts for. `old_logprobs` are those that the ratio
`r = exp(new - old)` is taken against: the sampler's, or what `clawjax.learner.ratios.off_policy`
puts in their place. Gradient flows through the new policy only.
"""

from __future__ import annotations

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
from jax import Array

from clawjax.learner.ratios import MAX_LOG_RATIO, importance_ratio, truncate
from clawjax.learner.sequences import per_turn_mean, spread

__all__ = [
    "PairLogprobs",
    "cispo",
    "clipped_surrogate",
    "dpo",
    "gspo",
    "gspo_log_ratio",
    "is_clipped",
    "k1_kl",
    "k2_kl",
    "k3_kl",
    "reinforce",
    "sft",
]


# --- policy gradient ----------------------------------------------------------------------------


def clipped_surrogate(
    new_logprobs: Array,
    old_logprobs: Array,
    advantages: Array,
    *,
    clip_low: float,
    clip_high: float,
    ratio_cap: float | None = None,
    dual_clip: float | None = None,
) -> Array:
    """`-min(tr(r) A, clip(r, 1 - clip_low, 1 + clip_high) A)`, `[B, T]`.

    `tr` truncates at `ratio_cap`, which is above `1 + clip_high`, and keeps the gradient
    (`ratios.truncate`); without a cap, `tr(r) = r`. With `dual_clip` = c > 1, the loss of a token
    of negative advantage, which grows with `r` without bound otherwise, ends at `-c A`, and its
    gradient there. A `ratio_cap` that is not above c leaves it nothing to do.

    Reference: Schulman et al. 2017, arXiv:1707.06347, eq. 7; asymmetric clip from DAPO,
    arXiv:2503.14476, eq. 10; dual clip from Ye et al. 2019, arXiv:1912.09729.
    """
    chex.assert_equal_shape([new_logprobs, old_logprobs, advantages])
    ratio = importance_ratio(new_logprobs, old_logprobs)
    return _clipped(
        ratio if ratio_cap is None else truncate(ratio, ratio_cap),
        jnp.clip(ratio, 1.0 - clip_low, 1.0 + clip_high),
        advantages,
        dual_clip,
    )


def gspo(
    new_logprobs: Array,
    old_logprobs: Array,
    advantages: Array,
    turn_ids: Array,
    *,
    max_turns: int,
    clip_low: float,
    clip_high: float,
    dual_clip: float | None = None,
) -> Array:
    """`-min(s A, clip(s, 1 - clip_low, 1 + clip_high) A)` with `s` of the whole turn, `[B, T]`.

    `s = exp(mean_t (new_t - old_t))`, in the token variant's form (`gspo_log_ratio`): every token
    of a turn has the value `s`, and the gradient `s A grad new_t` of its own log-prob alone.
    Averaged over the turn this is the gradient of the sequence objective, and unlike that
    objective it admits advantages that differ by token.

    Reference: Zheng et al. 2025, arXiv:2507.18071, eqs. 5-7 and 13-14 (bounds 3e-4 and 4e-4).
    """
    chex.assert_equal_shape([new_logprobs, old_logprobs, advantages, turn_ids])
    ratio = jnp.exp(gspo_log_ratio(new_logprobs, old_logprobs, turn_ids, max_turns=max_turns))
    clipped = jnp.clip(ratio, 1.0 - clip_low, 1.0 + clip_high)
    return _clipped(ratio, clipped, advantages, dual_clip)


def gspo_log_ratio(
    new_logprobs: Array, old_logprobs: Array, turn_ids: Array, *, max_turns: int
) -> Array:
    """`sg[mean_t (new_t - old_t)] + new - sg[new]`: the turn's value, the token's gradient."""
    chex.assert_equal_shape([new_logprobs, old_logprobs, turn_ids])
    detached = jax.lax.stop_gradient(new_logprobs)
    means = per_turn_mean(
        detached - jax.lax.stop_gradient(old_logprobs), turn_ids, max_turns=max_turns
    )
    means = jnp.clip(means, -MAX_LOG_RATIO, MAX_LOG_RATIO)
    return spread(means, turn_ids) + (new_logprobs - detached)


def is_clipped(
    ratio: Array,
    advantages: Array,
    *,
    clip_low: float,
    clip_high: float,
    dual_clip: float | None = None,
) -> Array:
    """Where a clip takes the gradient away, bool `[B, T]`."""
    is_far_up = (advantages > 0) & (ratio > 1.0 + clip_high)
    is_far_down = (advantages < 0) & (ratio < 1.0 - clip_low)
    if dual_clip is None:
        return is_far_up | is_far_down
    return is_far_up | is_far_down | ((advantages < 0) & (ratio > dual_clip))


def cispo(
    new_logprobs: Array,
    old_logprobs: Array,
    advantages: Array,
    *,
    ratio_high: float,
    ratio_low: float = 0.0,
) -> Array:
    """`-sg[clip(r, ratio_low, ratio_high)] A new`, `[B, T]`: the weight is clipped, no token is.

    The bounds are those of the ratio itself, not distances from 1. Same gradient as
    `clipped_surrogate` would have with a `ratio_cap` and no clip.

    Reference: MiniMax 2025, arXiv:2506.13585, eqs. 4-5 (without a lower bound there).
    """
    chex.assert_equal_shape([new_logprobs, old_logprobs, advantages])
    ratio = jnp.clip(importance_ratio(new_logprobs, old_logprobs), ratio_low, ratio_high)
    return reinforce(new_logprobs, advantages, weights=ratio)


def reinforce(new_logprobs: Array, advantages: Array, *, weights: Array | None = None) -> Array:
    """`-sg[w] A new`, `[B, T]`; `w = 1` without `weights`, e.g. those of `ratios.off_policy`.

    Reference: Williams 1992, "Simple statistical gradient-following algorithms for connectionist
    reinforcement learning".
    """
    chex.assert_equal_shape([new_logprobs, advantages])
    if weights is not None:
        chex.assert_equal_shape([weights, advantages])
        advantages = jax.lax.stop_gradient(weights) * advantages
    return -advantages * new_logprobs


def _clipped(ratio: Array, clipped: Array, advantages: Array, dual_clip: float | None) -> Array:
    gain = jnp.minimum(ratio * advantages, clipped * advantages)
    if dual_clip is not None:
        floor = dual_clip * advantages
        gain = jnp.where((advantages < 0) & (gain < floor), floor, gain)
    return -gain


# --- from examples ------------------------------------------------------------------------------


def sft(new_logprobs: Array) -> Array:
    """`-new`, `[B, T]`: cross-entropy of the tokens that were written."""
    return -new_logprobs


class PairLogprobs(NamedTuple):
    """Of the two replies of each pair, summed over the response tokens, `[P]`."""

    chosen: Array
    rejected: Array


def dpo(
    new: PairLogprobs, base: PairLogprobs, *, beta: float, label_smoothing: float = 0.0
) -> Array:
    """`-(1 - e) log sigmoid(h) - e log sigmoid(-h)` per pair, `[P]`.

    `h = beta ((new - base)_chosen - (new - base)_rejected)`, from log-probs summed over each
    reply (`sequences.per_turn_sum`). `e`, below 0.5, is the share of labels believed to be
    swapped. No gradient reaches the base.

    Reference: Rafailov et al. 2023, arXiv:2305.18290, eq. 7; smoothing: Mitchell 2023, "A note on
    DPO with noisy preferences".
    """
    chex.assert_equal_shape([new.chosen, new.rejected, base.chosen, base.rejected])
    base = jax.lax.stop_gradient(base)
    margin = beta * ((new.chosen - base.chosen) - (new.rejected - base.rejected))
    agree, disagree = jax.nn.log_sigmoid(margin), jax.nn.log_sigmoid(-margin)
    return -(1.0 - label_smoothing) * agree - label_smoothing * disagree


# --- distance to the base -----------------------------------------------------------------------
# Three estimates of KL(new || base) from tokens drawn from `new` (here: from a sampler at most a
# few versions older). Which estimates the value well and which has the right gradient are
# different questions: Tang and Munos 2025, arXiv:2506.09477. All three differentiate through
# `new`; no gradient reaches the base.


def k1_kl(new_logprobs: Array, base_logprobs: Array) -> Array:
    """`new - base`, `[B, T]`: unbiased in value, of either sign, with the largest variance.

    Not to be minimised: its gradient `grad new` is 0 on average whatever the base, so it only
    adds noise. Subtracted from the advantage (detached), it has the right gradient.

    Reference: Schulman 2020, "Approximating KL divergence", k1.
    """
    return -_base_log_ratio(new_logprobs, base_logprobs)


def k2_kl(new_logprobs: Array, base_logprobs: Array) -> Array:
    """`(new - base)^2 / 2`, `[B, T]`: non-negative, slightly biased in value.

    Minimised, its gradient `(new - base) grad new` is that of KL(new || base) without bias, on
    tokens drawn from `new`.

    Reference: Schulman 2020, "Approximating KL divergence", k2.
    """
    return 0.5 * jnp.square(_base_log_ratio(new_logprobs, base_logprobs))


def k3_kl(new_logprobs: Array, base_logprobs: Array) -> Array:
    """`exp(d) - 1 - d` with `d = base - new`, `[B, T]`: non-negative, 0 where the two agree.

    Unbiased in value, with little variance. Minimised, its gradient `(1 - exp(d)) grad new` is on
    average that of the other direction, KL(base || new); near the base the two agree. Above
    `MAX_LOG_RATIO` the exponential goes on as a line of the same slope: finite, and still pulling.

    Reference: Schulman 2020, "Approximating KL divergence", k3.
    """
    d = _base_log_ratio(new_logprobs, base_logprobs)
    near = jnp.minimum(d, MAX_LOG_RATIO)
    return jnp.exp(near) * (1.0 + (d - near)) - 1.0 - d


def _base_log_ratio(new_logprobs: Array, base_logprobs: Array) -> Array:
    """`d = base - new`."""
    chex.assert_equal_shape([new_logprobs, base_logprobs])
    return jax.lax.stop_gradient(base_logprobs) - new_logprobs
