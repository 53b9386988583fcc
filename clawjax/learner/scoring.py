"""Scores replies under given prompts: what the policy, teachers and students think of them.

`policy_scores` is differentiable and part of the training step; `Scorer` runs beside it, with one
compiled program per shape and model. Invariant: token ids are scored as they are, at the
temperature they were drawn at.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from clawjax.config import LearnerConfig
from clawjax.learner.batching import MicroBatch, make_batch, turn_values
from clawjax.learner.decoder import StackedDecoder
from clawjax.learner.logprobs import Likeliest, TokenScores, likeliest_tokens, response_scores
from clawjax.learner.shards import by_shard, even_rows
from clawjax.models.transformer import Params
from clawjax.records import Sample

__all__ = ["Model", "Scored", "Scorer", "policy_scores"]


class Model(NamedTuple):
    """A policy as it computes: a decoder and the stacked parameters it is applied to."""

    decoder: StackedDecoder
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
        run = partial(self._run, model.decoder, k, model.params)
        return [Scored(*fields) for fields in self._by_sample(run, model, samples)]

    def states(
        self, model: Model, samples: Sequence[Sample], layers: tuple[int, ...]
    ) -> list[np.ndarray]:
        """What leaves these layers after each response token, `[R, len(layers), D]` per sample.

        Raises:
            LearnerError: a sample is longer than the longest of `learner.length_buckets`.
        """
        run = partial(self._states, model.decoder, layers, model.params)
        return [states for (states,) in self._by_sample(run, model, samples)]

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

    def _by_sample(
        self,
        run: Callable[[MicroBatch], tuple[Array, ...]],
        model: Model,
        samples: Sequence[Sample],
    ) -> list[tuple[np.ndarray, ...]]:
        """What `run` makes of every response token, `[B, T, ...]` each, by sample."""
        if not samples:
            return []
        batch = make_batch(
            [replace(sample, turn_id=str(index)) for index, sample in enumerate(samples)],
            version=0,
            length_buckets=self._config.length_buckets,
            micro_batch_tokens=self._config.micro_batch_tokens,
            is_packed=self._config.is_packed,
            support=_support(samples[0]),
        )
        placement = model.decoder.placement
        outputs = [
            jax.device_get(run(placement.place_rows(micro)))
            for micro in even_rows(batch, placement.shards).micro_batches
        ]
        fields = [turn_values(arrays, batch) for arrays in zip(*outputs, strict=True)]
        return [tuple(field[str(index)] for field in fields) for index in range(len(samples))]


def _support(sample: Sample) -> int:
    """Tokens asked for besides the sampled one; the same for all samples of a call."""
    rows = () if sample.teacher is None else sample.teacher.support_ids
    return len(rows[0]) if rows else 0


def policy_scores(model: Model, micro: MicroBatch, *, is_head_trained: bool) -> TokenScores:
    """Log-probs and entropies of the response tokens, `[B, T]`, and log-probs of their support."""
    return _token_scores(model, _hidden(model, micro), micro, is_head_trained=is_head_trained)


def _score(decoder: StackedDecoder, k: int, params: Params, micro: MicroBatch) -> tuple[Array, ...]:
    """The fields of `Scored`, each with leading axes `[B, T]`."""
    model = Model(decoder, params)
    hidden = _hidden(model, micro)
    scores = _token_scores(model, hidden, micro, is_head_trained=False)
    found = _likeliest(model, hidden, micro, k)
    fields = (scores.logprobs, scores.support_logprobs, found.ids, found.logprobs)
    return decoder.placement.whole(fields)


def _states(
    decoder: StackedDecoder, layers: tuple[int, ...], params: Params, micro: MicroBatch
) -> tuple[Array]:
    states = decoder.states(
        params,
        jnp.asarray(micro.token_ids),
        jnp.asarray(micro.positions),
        jnp.asarray(micro.segment_ids),
        layers,
    )
    return (decoder.placement.whole(states),)


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
    head = model.decoder.head(model.params)

    def scores(chunks: Array, mask: Array, hidden: Array, *rows: Array) -> TokenScores:
        ids, temperature, support_ids = rows
        return response_scores(
            model.decoder.logits,
            head,
            hidden,
            ids,
            mask,
            temperature,
            support_ids,
            is_head_trained=is_head_trained,
            chunks=chunks,
        )

    rows = (micro.token_ids, micro.temperature, micro.support_ids)
    return _by_shard(scores, model, micro, hidden, *rows)


def _likeliest(model: Model, hidden: Array, micro: MicroBatch, k: int) -> Likeliest:
    if k == 0:
        nothing = jnp.zeros((*micro.token_ids.shape, 0))
        return Likeliest(nothing.astype(jnp.int32), nothing)
    head = model.decoder.head(model.params)

    def find(chunks: Array, mask: Array, hidden: Array, temperature: Array) -> Likeliest:
        return likeliest_tokens(
            model.decoder.logits, head, hidden, mask, temperature, k=k, chunks=chunks
        )

    return _by_shard(find, model, micro, hidden, micro.temperature)


def _by_shard(
    function: Callable[..., Any], model: Model, micro: MicroBatch, *rows: Array | np.ndarray
) -> Any:
    shards = model.decoder.placement.shards
    return by_shard(function, shards, jnp.asarray(micro.response_mask), *map(jnp.asarray, rows))
