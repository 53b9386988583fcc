"""The terms of the objective, weighted and summed over one micro-batch.

Blind to where advantages and teachers come from. Invariant: a turn takes part in exactly the terms
that it has a signal for; a term whose weight is 0 is not computed.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from clawjax.config import ObjectiveConfig, OpdConfig, OpdForm
from clawjax.learner import losses
from clawjax.learner.batching import MicroBatch
from clawjax.learner.decoder import HEAD_KEYS, Decoder
from clawjax.learner.diagnostics import Maxima, Sums
from clawjax.learner.logprobs import TokenScores, response_scores
from clawjax.learner.ratios import importance_ratio
from clawjax.learner.topk import support_reverse_kl
from clawjax.models.transformer import Params

__all__ = ["micro_loss", "policy_scores"]


def policy_scores(
    decoder: Decoder, params: Params, micro: MicroBatch, *, is_head_trained: bool
) -> TokenScores:
    """Log-probs and entropies of the response tokens under `params`, `[B, T]`."""
    token_ids = jnp.asarray(micro.token_ids)
    hidden = decoder.hidden(
        params, token_ids, jnp.asarray(micro.positions), jnp.asarray(micro.segment_ids)
    )
    return response_scores(
        decoder.logits,
        {name: params[name] for name in HEAD_KEYS & set(params)},
        hidden,
        token_ids,
        jnp.asarray(micro.response_mask),
        jnp.asarray(micro.temperature),
        jnp.asarray(micro.support_ids),
        is_head_trained=is_head_trained,
    )


class _Term(NamedTuple):
    """One term of the loss."""

    loss: Array
    """Scalar: the weighted sum over tokens."""
    is_clipped: Array
    """Bool `[B, T]`: where the clip takes the gradient away."""


def micro_loss(
    new: TokenScores, base_logprobs: Array | None, micro: MicroBatch, objective: ObjectiveConfig
) -> tuple[Array, tuple[Sums, Maxima]]:
    """`w_rl L_rl + w_opd L_opd + kl_coef KL`, and what to report about it.

    Each term is a mean over the tokens that have its signal, by the batch's weights.
    `base_logprobs` is None where `kl_coef` is 0.
    """
    nothing = _Term(jnp.zeros(()), jnp.zeros(micro.response_mask.shape, bool))
    rl = _rl(new, micro, objective) if objective.uses_scores else nothing
    opd = _opd(new, micro, objective) if objective.uses_hints else nothing
    kl = jnp.zeros(())
    if base_logprobs is not None:
        kl = jnp.sum(micro.weights * losses.k3_kl(new.logprobs, base_logprobs))
    total = objective.w_rl * rl.loss + objective.w_opd * opd.loss + objective.kl_coef * kl
    seen = _seen(new, micro, rl.is_clipped | opd.is_clipped)
    sums = Sums(loss=total, rl_loss=rl.loss, opd_loss=opd.loss, kl=kl, **seen[0])
    return total, jax.lax.stop_gradient((sums, seen[1]))


def _rl(new: TokenScores, micro: MicroBatch, objective: ObjectiveConfig) -> _Term:
    return _surrogate(
        new, micro, jnp.asarray(micro.advantages), jnp.asarray(micro.rl_weights), objective
    )


def _opd(new: TokenScores, micro: MicroBatch, objective: ObjectiveConfig) -> _Term:
    """Follow the teacher, by an advantage per token or by the KL over its support."""
    weights = jnp.asarray(micro.opd_weights)
    if objective.opd.form is OpdForm.token:
        return _surrogate(new, micro, difference(new, micro, objective.opd), weights, objective)
    divergence = support_reverse_kl(new.support_logprobs, jnp.asarray(micro.support_logprobs))
    has_teacher = weights > 0  # elsewhere the support is padding
    loss = jnp.sum(jnp.where(has_teacher, weights * divergence, 0.0))
    return _Term(loss, jnp.zeros(weights.shape, bool))


def difference(new: TokenScores, micro: MicroBatch, opd: OpdConfig) -> Array:
    """`g_t = clip(log pi_T(a_t | s, hint) - log pi_old(a_t | s), -c, c)`, `[B, T]`.

    A batch is consumed in one step, so that the old policy is the one being trained: the current
    log-probs, detached. This is the policy gradient of the reverse KL to the hinted teacher.
    Reference: on-policy distillation, Agarwal et al. 2023, arXiv:2306.13649.
    """
    gap = jnp.asarray(micro.teacher_logprobs) - jax.lax.stop_gradient(new.logprobs)
    return jnp.clip(gap, -opd.max_difference, opd.max_difference)


def _surrogate(
    new: TokenScores,
    micro: MicroBatch,
    advantages: Array,
    weights: Array,
    objective: ObjectiveConfig,
) -> _Term:
    sampler = jnp.asarray(micro.sampler_logprobs)
    clip = {"clip_low": objective.clip_low, "clip_high": objective.clip_high}
    loss = losses.clipped_surrogate(
        new.logprobs, sampler, advantages, ratio_cap=objective.ratio_cap, **clip
    )
    ratio = importance_ratio(new.logprobs, sampler)
    is_clipped = losses.is_clipped(ratio, advantages, **clip) & (weights > 0)
    return _Term(jnp.sum(weights * loss), is_clipped)


def _seen(
    new: TokenScores, micro: MicroBatch, is_clipped: Array
) -> tuple[dict[str, Array], Maxima]:
    """What to report about a micro-batch besides its loss."""
    sampler = jnp.asarray(micro.sampler_logprobs)
    ratio = importance_ratio(new.logprobs, sampler)
    where, mask = jnp.asarray(micro.is_comparable), jnp.asarray(micro.response_mask)
    mismatch = jnp.where(where, jnp.abs(new.logprobs - sampler), 0.0)
    on_response = jnp.where(mask, ratio, 0.0)
    gap = jnp.asarray(micro.teacher_logprobs) - new.logprobs
    sums = {
        "gap": jnp.sum(micro.opd_weights * gap),
        "entropy": jnp.sum(new.entropy),
        "tokens": jnp.sum(mask, dtype=jnp.float32),
        "clipped": jnp.sum(mask & is_clipped, dtype=jnp.float32),
        "ratio": jnp.sum(on_response),
        "ratio_squared": jnp.sum(on_response**2),
        "staleness": jnp.sum(micro.staleness, dtype=jnp.float32),
        "comparable": jnp.sum(where, dtype=jnp.float32),
        "mismatch": jnp.sum(mismatch),
    }
    maxima = Maxima(
        ratio=jnp.max(on_response),
        staleness=jnp.max(micro.staleness).astype(jnp.float32),
        mismatch=jnp.max(mismatch),
    )
    return sums, maxima
