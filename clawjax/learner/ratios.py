"""Importance ratios between the policy being trained and the one that sampled.

Pure, unreduced, fp32. A turn may be older than the policy that learns from it, and the engine
that sampled it may round differently; `off_policy` holds the known ways to answer that, each as a
weight per token, a choice of tokens and the log-probs that the loss's own ratio is taken against.
They compose with any loss of `clawjax.learner.losses`:

    correction = off_policy(...)
    loss_t = correction.weights * clipped_surrogate(new, correction.ratio_logprobs, A, ...)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple, get_args

import chex
import jax
import jax.numpy as jnp
from jax import Array

from clawjax.learner.sequences import per_turn_mean, per_turn_sum, spread

__all__ = [
    "MAX_LOG_RATIO",
    "PRESETS",
    "OffPolicy",
    "Preset",
    "importance_ratio",
    "off_policy",
    "truncate",
]

MAX_LOG_RATIO = 20.0
"""Log-ratios beyond it are clamped before exponentiation: exp(20) is still far from overflow."""

Preset = Literal["none", "tis", "seq_mask", "geo_mask", "icepop", "decoupled"]

PRESETS: tuple[Preset, ...] = get_args(Preset)


class OffPolicy(NamedTuple):
    """What a preset asks of the loss, `[B, T]`; none of it carries a gradient."""

    weights: Array
    """fp32 factor of each token's loss; 0 where not kept."""
    keep: Array
    """bool: response tokens that are trained on. Weights that divide by a number of tokens or
    turns may count these only."""
    ratio_logprobs: Array
    """The denominator of the loss's ratio `exp(new - ratio_logprobs)`."""


def importance_ratio(new_logprobs: Array, old_logprobs: Array) -> Array:
    """Per-token `r = pi_new(a | s) / pi_old(a | s)`, `[B, T]`.

    Where `old` is the sampler, what the token was drawn from, behaviour of any age and any
    sampling engine is corrected. No gradient reaches `old_logprobs`.

    `log r` is clamped in value and not in gradient, `r grad new`. Under `none`, `seq_mask` and
    `geo_mask` a stale token can be beyond the clamp, and a complaint about one that became far
    likelier still counts, as much as `truncate` lets it; whether a token is too far to learn from
    is for clips and masks to say. The other presets take this ratio within one update, which does
    not come near the clamp, and their weights are detached.
    """
    detached = jax.lax.stop_gradient(new_logprobs)
    clamped = _log_ratio(detached, jax.lax.stop_gradient(old_logprobs))
    return jnp.exp(clamped + (new_logprobs - detached))


def truncate(ratio: Array, cap: float) -> Array:
    """Value `min(r, cap)`, gradient `min(r, cap) * grad log r`: capped tokens still learn.

    A plain minimum would silence every token above the cap; scaling by the detached factor
    `min(r, cap) / r` bounds its weight instead. Reference: truncated importance sampling, Ionides
    2008; for sampler-trainer mismatch, Yao et al. 2025 ("Your efficient RL framework secretly
    brings you off-policy RL training").
    """
    return ratio * jax.lax.stop_gradient(jnp.minimum(ratio, cap) / ratio)


def off_policy(
    preset: Preset,
    new_logprobs: Array,
    sampler_logprobs: Array,
    turn_ids: Array,
    *,
    max_turns: int,
    proximal_logprobs: Array | None = None,
    is_truncated: Array | None = None,
    cap: float = 2.0,
    low: float = 0.5,
    high: float = 2.0,
) -> OffPolicy:
    """The correction that `preset` names, for tokens drawn from `sampler`.

    The presets are the functions below, in terms of `c = pi_proximal / pi_sampler` per token.
    Where sampler, proximal and new policy agree, all of them are `none` with `r = 1`.

    Args:
        preset: one of `PRESETS`.
        new_logprobs: `[B, T]`, of the policy being trained.
        sampler_logprobs: `[B, T]`, as recorded when the token was drawn.
        turn_ids: `[B, T]` int32, see `clawjax.learner.sequences`.
        max_turns: static; at least the largest of `turn_ids`.
        proximal_logprobs: `[B, T]`, of the policy at the start of the step; required by
            `decoupled`. Without them: the new policy, detached, which is the same in the first
            pass over a batch.
        is_truncated: bool `[B, T]`: tokens that were drawn from a part of the distribution only;
            None where there are none. What `none`, `seq_mask` and `geo_mask` keep of them is
            corrected as by `decoupled`.
        cap: bound of the weights of `tis` and `decoupled`.
        low: lower bound of what `seq_mask`, `geo_mask` and `icepop` keep; may be 0.
        high: upper bound.

    Raises:
        ValueError: an unknown preset, or `decoupled` without proximal log-probs.
    """
    chex.assert_equal_shape([new_logprobs, sampler_logprobs, turn_ids])
    if preset not in _CORRECTIONS:
        msg = f"preset={preset!r} is unknown: use one of {', '.join(PRESETS)}"
        raise ValueError(msg)
    if preset == "decoupled" and proximal_logprobs is None:
        msg = "decoupled needs proximal_logprobs, those of the policy at the step's start"
        raise ValueError(msg)
    proximal = new_logprobs if proximal_logprobs is None else proximal_logprobs
    if is_truncated is None:
        is_truncated = jnp.zeros(turn_ids.shape, bool)
    drawn = _Drawn(
        *jax.lax.stop_gradient((new_logprobs, proximal, sampler_logprobs)),
        is_truncated,
        turn_ids,
        max_turns,
    )
    return _CORRECTIONS[preset](drawn, _Bounds(cap, low, high))


class _Drawn(NamedTuple):
    """What is known of the tokens; log-probs `[B, T]`, detached."""

    new: Array
    proximal: Array
    sampler: Array
    is_truncated: Array
    turn_ids: Array
    max_turns: int

    @property
    def is_response(self) -> Array:
        """Bool `[B, T]`."""
        return self.turn_ids > 0

    @property
    def shift(self) -> Array:
        """`log c`, `[B, T]`."""
        return self.proximal - self.sampler


class _Bounds(NamedTuple):
    cap: float
    low: float
    high: float


def _none(drawn: _Drawn, bounds: _Bounds) -> OffPolicy:
    """Every token counts, `r = new / sampler`: the loss's clip is the only bound."""
    return _against_sampler(drawn, drawn.is_response, bounds)


def _tis(drawn: _Drawn, bounds: _Bounds) -> OffPolicy:
    """Weights `min(new / sampler, cap)`, `r = 1` in value: nothing to clip.

    Truncated importance sampling: Ionides 2008; Yao et al. 2025 ("Your efficient RL framework
    secretly brings you off-policy RL training").
    """
    weights = _capped(drawn.new, drawn.sampler, bounds.cap)
    return _kept(weights, drawn.is_response, drawn.new)


def _seq_mask(drawn: _Drawn, bounds: _Bounds) -> OffPolicy:
    """As `none`, without the turns whose sequence ratio `prod_t c` leaves [`low`, `high`].

    Liu, Li et al. 2025 ("When speed kills stability: demystifying RL collapse from the
    training-inference mismatch"); arXiv:2512.23075 on masking whole sequences.
    """
    log_ratios = per_turn_sum(drawn.shift, drawn.turn_ids, max_turns=drawn.max_turns)
    return _without_turns(drawn, log_ratios, bounds)


def _geo_mask(drawn: _Drawn, bounds: _Bounds) -> OffPolicy:
    """The same by the geometric mean `(prod_t c)^(1/T)`; same sources.

    Its scale does not grow with length, so the bounds want to be close to 1.
    """
    log_ratios = per_turn_mean(drawn.shift, drawn.turn_ids, max_turns=drawn.max_turns)
    return _without_turns(drawn, log_ratios, bounds)


def _icepop(drawn: _Drawn, bounds: _Bounds) -> OffPolicy:
    """Weights `c`, tokens with `c` outside [`low`, `high`] left out, `r = new / proximal`.

    Ling Team 2025, arXiv:2510.18855, section 2.3.2 (bounds 0.5 and 5).
    """
    keep = drawn.is_response & _is_within(drawn.shift, bounds.low, bounds.high)
    return _kept(jnp.exp(_log_ratio(drawn.proximal, drawn.sampler)), keep, drawn.proximal)


def _decoupled(drawn: _Drawn, bounds: _Bounds) -> OffPolicy:
    """Weights `min(c, cap)`, `r = new / proximal`: the clip bounds the step, not the age.

    Hilton et al. 2021, arXiv:2110.00641; arXiv:2505.24298.
    """
    weights = _capped(drawn.proximal, drawn.sampler, bounds.cap)
    return _kept(weights, drawn.is_response, drawn.proximal)


_CORRECTIONS: Mapping[Preset, Callable[[_Drawn, _Bounds], OffPolicy]] = {
    "none": _none,
    "tis": _tis,
    "seq_mask": _seq_mask,
    "geo_mask": _geo_mask,
    "icepop": _icepop,
    "decoupled": _decoupled,
}


def _without_turns(drawn: _Drawn, log_ratios: Array, bounds: _Bounds) -> OffPolicy:
    is_close = _is_within(log_ratios, bounds.low, bounds.high)
    return _against_sampler(drawn, spread(is_close, drawn.turn_ids), bounds)


def _against_sampler(drawn: _Drawn, keep: Array, bounds: _Bounds) -> OffPolicy:
    """`r = new / sampler`, and `_decoupled` for what was drawn from a truncated distribution.

    Such a sampler is the policy on a part of its mass, `mu = pi / Z`, so that `r` is `Z` before
    anything is learnt. A clip would take that for distance: at `Z < 1 - clip_low` it silences
    complaints and no praise. As a weight, `Z` counts for both alike.
    """
    apart = _decoupled(drawn, bounds)
    return _kept(
        jnp.where(drawn.is_truncated, apart.weights, 1.0),
        keep,
        jnp.where(drawn.is_truncated, apart.ratio_logprobs, drawn.sampler),
    )


def _kept(weights: Array, keep: Array, ratio_logprobs: Array) -> OffPolicy:
    return OffPolicy(jnp.where(keep, weights, 0.0), keep, ratio_logprobs)


def _capped(logprobs: Array, sampler_logprobs: Array, cap: float) -> Array:
    return jnp.minimum(jnp.exp(_log_ratio(logprobs, sampler_logprobs)), cap)


def _log_ratio(logprobs: Array, old_logprobs: Array) -> Array:
    return jnp.clip(logprobs - old_logprobs, -MAX_LOG_RATIO, MAX_LOG_RATIO)


def _is_within(log_ratio: Array, low: float, high: float) -> Array:
    """Compared as logarithms: the ratio of a long turn is beyond fp32 long before it matters."""
    log_low = math.log(low) if low > 0 else -math.inf
    return (log_ratio >= log_low) & (log_ratio <= math.log(high))
