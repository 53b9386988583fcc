"""The terms of the objective, weighted and summed over one micro-batch.

Blind to where advantages and teachers come from. Invariant: a turn takes part in exactly the terms
that it has a signal for; a term whose weight is 0 is not computed.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from clawjax.config import (
    USES_PROXIMAL,
    KlEstimator,
    ObjectiveConfig,
    OpdConfig,
    OpdForm,
    PolicyLoss,
)
from clawjax.learner import losses
from clawjax.learner.batching import MicroBatch
from clawjax.learner.diagnostics import Maxima, Sums
from clawjax.learner.logprobs import TokenScores
from clawjax.learner.ratios import importance_ratio, off_policy
from clawjax.learner.topk import support_reverse_kl

__all__ = ["asks_proximal", "difference", "micro_loss"]


class _Term(NamedTuple):
    """One term of the loss."""

    loss: Array
    """Scalar: the weighted sum over tokens."""
    is_silent: Array
    """Bool `[B, T]`: tokens of this term whose gradient a clip or a mask takes away."""


def micro_loss(
    new: TokenScores,
    base_logprobs: Array | None,
    micro: MicroBatch,
    objective: ObjectiveConfig,
    *,
    proximal_logprobs: Array | None = None,
) -> tuple[Array, tuple[Sums, Maxima]]:
    """`w_rl L_rl + w_opd L_opd + kl_coef KL - entropy_coef H`, and what to report about it.

    Each term is a mean over the tokens that have its signal, by the batch's weights.

    Args:
        new: of the policy being trained.
        base_logprobs: `[B, T]`; None where `kl_coef` is 0.
        micro: what is learnt from.
        objective: the terms and their settings.
        proximal_logprobs: `[B, T]`, of the policy at the update's start; None in an update of a
            single step, where it is the one being trained.
    """
    old = jax.lax.stop_gradient(new.logprobs if proximal_logprobs is None else proximal_logprobs)
    nothing = _Term(jnp.zeros(()), jnp.zeros(micro.response_mask.shape, bool))
    rl = _rl(new, old, micro, objective) if objective.uses_scores else nothing
    opd = _opd(new, old, micro, objective) if objective.uses_teacher else nothing
    kl = jnp.zeros(())
    if base_logprobs is not None:
        kl = jnp.sum(micro.weights * _kl(new.logprobs, base_logprobs, objective.kl_estimator))
    total = objective.w_rl * rl.loss + objective.w_opd * opd.loss + objective.kl_coef * kl
    if objective.entropy_coef > 0:
        total -= objective.entropy_coef * jnp.sum(micro.weights * new.entropy)
    sums, maxima = _seen(new, micro, rl.is_silent | opd.is_silent)
    seen = Sums(loss=total, rl_loss=rl.loss, opd_loss=opd.loss, kl=kl, **sums)
    return total, jax.lax.stop_gradient((seen, maxima))


def asks_proximal(objective: ObjectiveConfig, micro: MicroBatch) -> bool:
    """Whether the loss of an update's later steps looks back at the policy at its start."""
    is_cut = objective.clips_against_sampler and bool(micro.is_truncated.any())
    return is_cut or objective.off_policy.preset in USES_PROXIMAL


def _kl(new_logprobs: Array, base_logprobs: Array, estimator: KlEstimator) -> Array:
    match estimator:
        case KlEstimator.k1:
            # As a penalty on the reward: its value, and the score function's gradient.
            value = jax.lax.stop_gradient(losses.k1_kl(new_logprobs, base_logprobs))
            return value * (1.0 + new_logprobs - jax.lax.stop_gradient(new_logprobs))
        case KlEstimator.k2:
            return losses.k2_kl(new_logprobs, base_logprobs)
        case KlEstimator.k3:
            return losses.k3_kl(new_logprobs, base_logprobs)


def _rl(new: TokenScores, proximal: Array, micro: MicroBatch, objective: ObjectiveConfig) -> _Term:
    advantages, weights = jnp.asarray(micro.advantages), jnp.asarray(micro.rl_weights)
    return _policy_gradient(new, proximal, micro, advantages, weights, objective)


def _opd(new: TokenScores, proximal: Array, micro: MicroBatch, objective: ObjectiveConfig) -> _Term:
    """Follow the teacher, by an advantage per token or by the KL over its support."""
    weights = jnp.asarray(micro.opd_weights)
    if objective.opd.form is OpdForm.token:
        advantages = difference(new, micro, objective.opd)
        return _policy_gradient(new, proximal, micro, advantages, weights, objective)
    divergence = support_reverse_kl(new.support_logprobs, jnp.asarray(micro.support_logprobs))
    has_teacher = weights > 0  # elsewhere the support is padding
    loss = jnp.sum(jnp.where(has_teacher, weights * divergence, 0.0))
    return _Term(loss, jnp.zeros(weights.shape, bool))


def difference(new: TokenScores, micro: MicroBatch, opd: OpdConfig) -> Array:
    """`g_t = clip(log pi_T(a_t | s, hint) - log pi_old(a_t | s), -c, c)`, `[B, T]`.

    The old policy is the one being trained, detached, in every step anew: the policy gradient of
    the reverse KL to the hinted teacher.
    Reference: on-policy distillation, Agarwal et al. 2023, arXiv:2306.13649.
    """
    gap = jnp.asarray(micro.teacher_logprobs) - jax.lax.stop_gradient(new.logprobs)
    return jnp.clip(gap, -opd.max_difference, opd.max_difference)


def _policy_gradient(
    new: TokenScores,
    proximal: Array,
    micro: MicroBatch,
    advantages: Array,
    weights: Array,
    objective: ObjectiveConfig,
) -> _Term:
    """The configured loss of the advantages, corrected for the sampler's distance."""
    config, turn_ids = objective.off_policy, jnp.asarray(micro.turn_ids)
    max_turns = turn_ids.size  # every turn has a response token of its own
    correction = off_policy(
        config.preset.value,
        new.logprobs,
        jnp.asarray(micro.sampler_logprobs),
        turn_ids,
        max_turns=max_turns,
        proximal_logprobs=proximal,
        is_truncated=jnp.asarray(micro.is_truncated) if objective.clips_against_sampler else None,
        cap=config.cap,
        low=config.low,
        high=config.high,
    )
    old = correction.ratio_logprobs
    clip = {
        "clip_low": objective.clip_low,
        "clip_high": objective.clip_high,
        "dual_clip": objective.dual_clip,
    }
    is_clipped = jnp.zeros(weights.shape, bool)
    match objective.policy_loss:
        case PolicyLoss.clipped:
            loss = losses.clipped_surrogate(
                new.logprobs, old, advantages, ratio_cap=objective.ratio_cap, **clip
            )
            is_clipped = losses.is_clipped(importance_ratio(new.logprobs, old), advantages, **clip)
        case PolicyLoss.gspo:
            loss = losses.gspo(new.logprobs, old, advantages, turn_ids, max_turns=max_turns, **clip)
            log_ratio = losses.gspo_log_ratio(new.logprobs, old, turn_ids, max_turns=max_turns)
            is_clipped = losses.is_clipped(jnp.exp(log_ratio), advantages, **clip)
        case PolicyLoss.cispo:
            loss = losses.cispo(new.logprobs, old, advantages, ratio_high=objective.ratio_cap)
        case PolicyLoss.reinforce:
            loss = losses.reinforce(new.logprobs, advantages)
        case PolicyLoss.sft:
            loss = losses.sft(new.logprobs)
    is_silent = (is_clipped | ~correction.keep) & (weights > 0)
    return _Term(jnp.sum(weights * correction.weights * loss), is_silent)


def _seen(new: TokenScores, micro: MicroBatch, is_silent: Array) -> tuple[dict[str, Array], Maxima]:
    """What to report about a micro-batch besides its loss."""
    sampler = jnp.asarray(micro.sampler_logprobs)
    ratio = importance_ratio(new.logprobs, sampler)
    where, mask = jnp.asarray(micro.is_comparable), jnp.asarray(micro.response_mask)
    distance = jnp.where(mask, jnp.abs(new.logprobs - sampler), 0.0)
    # The sampler's KL to the policy: its tokens were drawn from the sampler.
    kl = jnp.where(mask, losses.k3_kl(sampler, new.logprobs), 0.0)
    mismatch = jnp.where(where, distance, 0.0)
    on_response = jnp.where(mask, ratio, 0.0)
    gap = jnp.asarray(micro.teacher_logprobs) - new.logprobs
    sums = {
        "gap": jnp.sum(micro.opd_weights * gap),
        "weight": jnp.sum(micro.weights),
        "rl_weight": jnp.sum(micro.rl_weights),
        "opd_weight": jnp.sum(micro.opd_weights),
        "entropy": jnp.sum(new.entropy),
        "tokens": jnp.sum(mask, dtype=jnp.float32),
        "clipped": jnp.sum(mask & is_silent, dtype=jnp.float32),
        "ratio": jnp.sum(on_response),
        "ratio_squared": jnp.sum(on_response**2),
        "staleness": jnp.sum(micro.staleness, dtype=jnp.float32),
        "comparable": jnp.sum(where, dtype=jnp.float32),
        "mismatch": jnp.sum(mismatch),
        "mismatch_kl": jnp.sum(jnp.where(where, kl, 0.0)),
        "distance": jnp.sum(distance),
        "distance_kl": jnp.sum(kl),
    }
    maxima = Maxima(
        ratio=jnp.max(on_response),
        staleness=jnp.max(micro.staleness).astype(jnp.float32),
        mismatch=jnp.max(mismatch),
        distance=jnp.max(distance),
    )
    return sums, maxima
