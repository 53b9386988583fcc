"""Scores replies under given prompts: what the policy, teachers and students think of them.

`policy_scores` is differentiable and part of the training step; `Scorer` runs beside it, with one
compiled program per shape and model. Invariant: token ids are scored as they are, at the
temperature they were drawn at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from clawjax.config import LearnerConfig
from clawjax.learner.batching import Batch, MicroBatch, make_batch, turn_values
from clawjax.learner.decoder import HEAD_KEYS, Decoder
from clawjax.learner.logprobs import TokenScores, likeliest_tokens, response_scores
from clawjax.models.transformer import Params
from clawjax.records import Sample

__all__ = ["Model", "Scored", "Scorer", "policy_scores"]


class Model(NamedTuple):
    """A policy as it computes: a decoder and the stacked parameters it is applied to."""

    decoder: Decoder
    params: Params


class Scored(NamedTuple):
    """One reply under one prompt; host arrays over its `R` tokens."""

    logprobs: np.ndarray
    """`[R]`."""
    support_logprobs: np.ndarray
    """`[R, W]`, of the sample's support; W is 0 where it has none."""
    likeliest_ids: np.ndarray
    """`[R, k]`, likeliest first."""
    likeliest_logprobs: np.ndarray
    """`[R, k]`."""


class Scorer:
    """Packs samples, scores them, and hands the results back in the samples' order."""

    def __init__(self, config: LearnerConfig) -> None:
        """Use the shapes that training uses."""
        self._config = config
        self._run = jax.jit(_score, static_argnums=(0, 1))
        self._states = jax.jit(_states, static_argnums=(0, 1))

    def score(self, model: Model, samples: Sequence[Sample], *, k: int = 0) -> list[Scored]:
        """Score each sample's response; `k` likeliest tokens of each place are returned besides.

        Raises:
            LearnerError: a sample is longer than the longest of `learner.length_buckets`.
        """
        if not samples:
            return []
        batch = self._batched(samples)
        outputs = [
            jax.device_get(self._run(model.decoder, k, model.params, micro))
            for micro in batch.micro_batches
        ]
        fields = [turn_values(arrays, batch) for arrays in zip(*outputs, strict=True)]
        return [Scored(*(field[str(index)] for field in fields)) for index in range(len(samples))]

    def states(
        self, model: Model, samples: Sequence[Sample], layers: tuple[int, ...]
    ) -> list[np.ndarray]:
        """What leaves these layers after each response token, `[R, len(layers), D]` per sample.

        Raises:
            LearnerError: a sample is longer than the longest of `learner.length_buckets`.
        """
        if not samples:
            return []
        batch = self._batched(samples)
        outputs = [
            np.asarray(self._states(model.decoder, layers, model.params, micro))
            for micro in batch.micro_batches
        ]
        found = turn_values(outputs, batch)
        return [found[str(index)] for index in range(len(samples))]

    def log_ratios(self, samples: Sequence[Sample], *, policy: Model, base: Model) -> list[float]:
        """`log policy(y | x) - log base(y | x)` of each whole response, in nats.

        Raises:
            LearnerError: a sample is longer than the longest of `learner.length_buckets`.
        """
        both = zip(self.score(policy, samples), self.score(base, samples), strict=True)
        return [
            float(np.sum(ours.logprobs - theirs.logprobs, dtype=np.float64))
            for ours, theirs in both
        ]

    def _batched(self, samples: Sequence[Sample]) -> Batch:
        """Packed under their places in the sequence."""
        return make_batch(
            [replace(sample, turn_id=str(index)) for index, sample in enumerate(samples)],
            version=0,
            length_buckets=self._config.length_buckets,
            micro_batch_tokens=self._config.micro_batch_tokens,
            is_packed=self._config.is_packed,
            support=_support(samples[0]),
        )


def _support(sample: Sample) -> int:
    """Tokens asked for besides the sampled one; the same for all samples of a call."""
    rows = () if sample.teacher is None else sample.teacher.support_ids
    return len(rows[0]) if rows else 0


def policy_scores(model: Model, micro: MicroBatch, *, is_head_trained: bool) -> TokenScores:
    """Log-probs and entropies of the response tokens, `[B, T]`, and log-probs of their support."""
    return _token_scores(model, _hidden(model, micro), micro, is_head_trained=is_head_trained)


def _score(decoder: Decoder, k: int, params: Params, micro: MicroBatch) -> tuple[Array, ...]:
    """The fields of `Scored`, each with leading axes `[B, T]`."""
    model = Model(decoder, params)
    hidden = _hidden(model, micro)
    scores = _token_scores(model, hidden, micro, is_head_trained=False)
    if k == 0:
        nothing = jnp.zeros((*micro.token_ids.shape, 0))
        return scores.logprobs, scores.support_logprobs, nothing.astype(jnp.int32), nothing
    found = likeliest_tokens(
        decoder.logits,
        _head(params),
        hidden,
        jnp.asarray(micro.response_mask),
        jnp.asarray(micro.temperature),
        k=k,
    )
    return scores.logprobs, scores.support_logprobs, found.ids, found.logprobs


def _states(decoder: Decoder, layers: tuple[int, ...], params: Params, micro: MicroBatch) -> Array:
    return decoder.states(
        params,
        jnp.asarray(micro.token_ids),
        jnp.asarray(micro.positions),
        jnp.asarray(micro.segment_ids),
        layers,
    )


def _hidden(model: Model, micro: MicroBatch) -> Array:
    return model.decoder.hidden(
        model.params,
        jnp.asarray(micro.token_ids),
        jnp.asarray(micro.positions),
        jnp.asarray(micro.segment_ids),
    )


def _token_scores(
    model: Model, hidden: Array, micro: MicroBatch, *, is_head_trained: bool
) -> TokenScores:
    return response_scores(
        model.decoder.logits,
        _head(model.params),
        hidden,
        jnp.asarray(micro.token_ids),
        jnp.asarray(micro.response_mask),
        jnp.asarray(micro.temperature),
        jnp.asarray(micro.support_ids),
        is_head_trained=is_head_trained,
    )


def _head(params: Params) -> Params:
    return {name: params[name] for name in HEAD_KEYS & set(params)}
