"""A second opinion on log-probs, by the plain `Transformer`, for tests of the training step."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np

from clawjax.config import LoraConfig
from clawjax.learner.decoder import unstack
from clawjax.learner.step import TrainState
from clawjax.models.architecture import Architecture
from clawjax.models.load import LoadedModel
from clawjax.models.lora import merge
from clawjax.models.transformer import Params, Transformer, causal_attention
from clawjax.records import Sample

LENGTH = 32


def served_params(model: LoadedModel, state: TrainState, lora: LoraConfig | None) -> Params:
    """The weights that an engine would serve."""
    trained = unstack(state.trainable)
    return trained if lora is None else merge(model.params, trained, lora)


@cache
def _score(architecture: Architecture):
    transformer = Transformer(architecture)

    @jax.jit
    def score(params: Params, ids: jax.Array) -> jax.Array:
        positions = jnp.broadcast_to(jnp.arange(ids.shape[1]), ids.shape)
        attend = causal_attention(jnp.ones(ids.shape, bool))
        return transformer.apply({"params": params}, ids, positions, attend, method="score")

    return score


def scores(model: LoadedModel, params: Params, ids: np.ndarray) -> np.ndarray:
    """Logits of whole sequences, `[B, T, V]`."""
    return np.asarray(_score(model.architecture)(params, jnp.asarray(ids)), np.float64)


def logprobs(model: LoadedModel, params: Params, samples: Sequence[Sample]) -> list[np.ndarray]:
    """log-prob of every response token at its sample's temperature."""
    ids = np.zeros((len(samples), LENGTH), np.int32)
    for row, sample in enumerate(samples):
        whole = (*sample.prompt_ids, *sample.response_ids)
        ids[row, : len(whole)] = whole
    logits = scores(model, params, ids)
    found = []
    for row, sample in enumerate(samples):
        start, stop = len(sample.prompt_ids) - 1, len(sample.prompt_ids) - 1
        stop += len(sample.response_ids)
        scaled = logits[row, start:stop] / sample.temperature
        scaled -= scaled.max(-1, keepdims=True)
        normed = scaled - np.log(np.exp(scaled).sum(-1, keepdims=True))
        found.append(normed[np.arange(stop - start), list(sample.response_ids)])
    return found


def as_sampled(
    model: LoadedModel, params: Params, samples: Sequence[Sample], *, version: int
) -> list[Sample]:
    """The samples as if `params` had drawn them at `version`."""
    return [
        dataclasses.replace(
            sample,
            sampler_logprobs=tuple(float(value) for value in values),
            token_versions=(version,) * len(sample.response_ids),
        )
        for sample, values in zip(samples, logprobs(model, params, samples), strict=True)
    ]
