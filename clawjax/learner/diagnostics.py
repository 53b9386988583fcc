"""What a step reports about itself: sums and maxima over tokens, turned into metrics at the end.

Invariant: a number that no token stands behind is left out, never reported as 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from clawjax.learner.batching import Batch, joined, turn_values

__all__ = ["Maxima", "Sums", "batch_metrics", "mean_over_steps", "merge", "step_metrics", "zeros"]


class Sums(NamedTuple):
    """Scalars that add up over micro-batches."""

    loss: Array
    rl_loss: Array
    opd_loss: Array
    gap: Array
    """Weighted sum of teacher - new over the tokens with a teacher."""
    kl: Array
    """Weighted sum over all tokens."""
    weight: Array
    """Of all tokens: what `kl` is divided by to be of a token."""
    rl_weight: Array
    """Of those with credit."""
    opd_weight: Array
    """Of those with a teacher."""
    entropy: Array
    tokens: Array
    clipped: Array
    ratio: Array
    ratio_squared: Array
    staleness: Array
    comparable: Array
    """Tokens sampled by the current version from the whole distribution."""
    mismatch: Array
    """Sum of |new - sampler| over those."""
    mismatch_kl: Array
    """Sum of `r - 1 - log r` over those, `r = new / sampler`: KL(sampler || new) by k3."""
    distance: Array
    """As `mismatch`, over all response tokens: of any age, filtered or not."""
    distance_kl: Array
    """As `mismatch_kl`, over all response tokens. Of a distribution `pi / Z` that a filter left,
    `Z - 1 - log Z` to the policy itself."""


class Maxima(NamedTuple):
    """Scalars of which the largest counts; all are at least 0."""

    ratio: Array
    staleness: Array
    mismatch: Array
    distance: Array


def zeros() -> tuple[Sums, Maxima]:
    """Before the first micro-batch."""
    return (
        Sums(*(jnp.zeros((), jnp.float32) for _ in Sums._fields)),
        Maxima(*(jnp.zeros((), jnp.float32) for _ in Maxima._fields)),
    )


def merge(left: tuple[Sums, Maxima], right: tuple[Sums, Maxima]) -> tuple[Sums, Maxima]:
    """Join two micro-batches."""
    return jax.tree.map(jnp.add, left[0], right[0]), jax.tree.map(jnp.maximum, left[1], right[1])


def mean_over_steps(seen: Sequence[tuple[Sums, Maxima]]) -> tuple[Sums, Maxima]:
    """Join optimiser steps: the loss as their mean, a term as that of the steps that had it."""
    sums, maxima = reduce(merge, seen)
    had_rl = sum(bool(step.rl_weight > 0) for step, _ in seen)
    had_opd = sum(bool(step.opd_weight > 0) for step, _ in seen)
    means = sums._replace(
        loss=sums.loss / len(seen),
        rl_loss=sums.rl_loss / max(had_rl, 1),
        opd_loss=sums.opd_loss / max(had_opd, 1),
    )
    return means, maxima


def step_metrics(
    sums: Sums, maxima: Maxima, *, has_rl: bool, has_opd: bool, has_kl: bool
) -> dict[str, float]:
    """Slash-path metrics of one update, from sums on the host."""
    tokens = float(sums.tokens)
    comparable = float(sums.comparable)
    metrics = {
        "train/loss": float(sums.loss),
        "train/entropy": float(sums.entropy) / tokens,
        "train/ratio_mean": float(sums.ratio) / tokens,
        "train/ratio_max": float(maxima.ratio),
        "train/clip_fraction": float(sums.clipped) / tokens,
        "train/ess": float(sums.ratio) ** 2 / (tokens * float(sums.ratio_squared)),
        "train/staleness_mean": float(sums.staleness) / tokens,
        "train/staleness_max": float(maxima.staleness),
        "train/tokens": tokens,
        "train/mismatch_tokens": comparable,
        "train/mean_abs_logprob_diff_all": float(sums.distance) / tokens,
        "train/max_abs_logprob_diff_all": float(maxima.distance),
        "train/mismatch_kl_all": float(sums.distance_kl) / tokens,
    }
    if has_rl:
        metrics["train/rl_loss"] = float(sums.rl_loss)
    if has_opd:
        metrics["train/opd_loss"] = float(sums.opd_loss)
        metrics["train/teacher_gap"] = float(sums.gap) / float(sums.opd_weight)
    if has_kl:
        metrics["train/kl"] = float(sums.kl) / float(sums.weight)
    if comparable:
        metrics["train/mean_abs_logprob_diff"] = float(sums.mismatch) / comparable
        metrics["train/max_abs_logprob_diff"] = float(maxima.mismatch)
        metrics["train/mismatch_kl"] = float(sums.mismatch_kl) / comparable
    return metrics


def batch_metrics(batches: Sequence[Batch]) -> dict[str, float]:
    """Mean and spread of the advantages, every turn weighing the same, and what was computed."""
    batch = joined(batches)
    advantages = turn_values([micro.advantages for micro in batch.micro_batches], batch)
    weights = turn_values([micro.rl_weights for micro in batch.micro_batches], batch)
    taught = turn_values([micro.opd_weights for micro in batch.micro_batches], batch)
    means = [float(a.mean()) for turn, a in advantages.items() if weights[turn].any()]
    padded = sum(micro.token_ids.size for micro in batch.micro_batches)
    filled = sum(int((micro.segment_ids > 0).sum()) for micro in batch.micro_batches)
    spread: dict[str, float] = {}
    if means:
        spread["train/advantage_mean"] = float(np.mean(means))
        spread["train/advantage_std"] = float(np.std(means))
    return spread | {
        "train/turns": float(len(advantages)),
        "train/rl_turns": float(len(means)),
        "train/opd_turns": float(sum(values.any() for values in taught.values())),
        "train/computed_tokens": float(padded),
        "train/padding_fraction": 1.0 - filled / padded,
    }
