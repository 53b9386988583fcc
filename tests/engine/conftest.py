"""A tiny model and its compiled programs, shared by all engine tests."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from clawjax.config import EngineConfig, ModelConfig
from clawjax.engine.decode import Decoder
from clawjax.engine.scheduler import Scheduler, Weights
from clawjax.engine.text import ReplyText
from clawjax.models.load import LoadedModel, load_model
from clawjax.models.transformer import Params, Transformer, causal_attention

CONTEXT = 128


@pytest.fixture(scope="session")
def model() -> LoadedModel:
    return load_model(ModelConfig(path="random:llama", context_length=CONTEXT), seed=1)


@pytest.fixture(scope="session")
def other_params() -> Params:
    """Other weights for the same architecture."""
    return load_model(ModelConfig(path="random:llama", context_length=CONTEXT), seed=2).params


@pytest.fixture(scope="session")
def config() -> EngineConfig:
    return EngineConfig(slots=3, max_waiting=4, prefill_chunk=32, live_buckets=[48, 4096])


@pytest.fixture(scope="session")
def decoder(model: LoadedModel, config: EngineConfig) -> Decoder:
    decoder = Decoder(model.architecture, model.context_length, config)
    decoder.warm_up(model.params)
    return decoder


@pytest.fixture
def scheduler(model: LoadedModel, decoder: Decoder) -> Scheduler:
    return Scheduler(
        decoder,
        Weights(model.params, 0),
        eos_ids=model.tokenizer.eos_ids,
        new_text=lambda stops, _: ReplyText(model.tokenizer.detokenizer(), stops),
    )


@pytest.fixture(scope="session")
def logits_of(model: LoadedModel) -> Callable[[Params, tuple[int, ...]], np.ndarray]:
    """The whole model on whole sequences, without a cache: `[T, V]` logits."""
    whole = Transformer(model.architecture)

    @jax.jit
    def score(params: Params, ids: jax.Array) -> jax.Array:
        positions = jnp.arange(ids.shape[1])[None]
        attend = causal_attention(jnp.ones(ids.shape, bool))
        return whole.apply({"params": params}, ids, positions, attend, method=Transformer.score)

    def logits(params: Params, ids: tuple[int, ...]) -> np.ndarray:
        padded = np.zeros((1, CONTEXT), np.int32)
        padded[0, : len(ids)] = ids
        return np.asarray(score(params, padded))[0, : len(ids)]

    return logits
