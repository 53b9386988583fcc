"""Keys and values in half the memory: what is sampled is told as it was drawn, and near fp32's."""

import asyncio
import re
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from engine_driver import LogitsOf, Reply, prompt, recomputed, request

from clawjax.config import EngineConfig
from clawjax.engine.decode import Decoder
from clawjax.engine.embedded import EmbeddedEngine
from clawjax.engine.kv import new_cache
from clawjax.engine.programs import Shape, decode
from clawjax.errors import ConfigError
from clawjax.models.load import LoadedModel
from clawjax.models.transformer import Transformer
from clawjax.protocols import GenerateRequest

NEAR = 0.05
"""Nats, of a token: keys and values have eight bits, of sums of two layers."""


async def replies(
    engine: EmbeddedEngine, asked: list[GenerateRequest]
) -> dict[GenerateRequest, Reply]:
    async def ask(one: GenerateRequest) -> Reply:
        reply = Reply()
        async for chunk in engine.generate(one):
            reply.chunks.append(chunk)
        return reply

    return dict(zip(asked, await asyncio.gather(*map(ask, asked)), strict=True))


@pytest.mark.parametrize("tokens_per_dispatch", [1, 4])
async def test_replies_of_a_cache_in_bfloat16_have_log_probs_near_those_of_the_model(
    model: LoadedModel, config: EngineConfig, logits_of: LogitsOf, tokens_per_dispatch: int
) -> None:
    """Of prompts read alone, beside others' replies, and from what is known."""
    half = replace(config, cache_dtype="bfloat16", tokens_per_dispatch=tokens_per_dispatch)
    engine = await EmbeddedEngine.start(model, half, None)
    try:
        first = request(prompt(40), 12, seed=1, temperature=1.0)
        found = await replies(engine, [first, request(prompt(70, seed=3), 9, seed=2)])
        goes_on = request((*prompt(40), *found[first].ids, *prompt(5, seed=4)), 6, seed=5)
        found |= await replies(engine, [goes_on])
    finally:
        await engine.aclose()
    assert found[goes_on].chunks[0].cached_tokens > 40
    differences = np.concatenate([
        np.asarray(reply.logprobs_t1) - recomputed(logits_of, model.params, asked, reply.ids)
        for asked, reply in found.items()
    ])  # fmt: skip
    assert 0 < np.abs(differences).max() < NEAR


def test_such_a_cache_has_half_the_bytes(model: LoadedModel, config: EngineConfig) -> None:
    def size(dtype: str) -> int:
        decoder = Decoder(model.architecture, 128, replace(config, cache_dtype=dtype))
        return sum(buffer.nbytes for buffer in jax.tree.leaves(decoder._cache))

    assert 2 * size("bfloat16") == size("float32")
    (layer, *_) = new_cache(model.architecture, rows=1, capacity=8, dtype="bfloat16")
    assert layer.k.dtype == layer.v.dtype == jnp.bfloat16


@pytest.mark.parametrize(("platform", "products"), [("cuda", 2), ("tpu", 2), ("cpu", 0)])
def test_accelerators_multiply_what_the_cache_has_and_sum_in_fp32(
    model: LoadedModel, platform: str, products: int
) -> None:
    """Scores and values, of layers that share a function; as their compilers are given it."""
    program = partial(decode, Transformer(model.architecture), Shape("decode", 2, 1, 32))
    cache = new_cache(model.architecture, rows=3, capacity=32, dtype="bfloat16")
    fed = jnp.zeros(2, jnp.int32)
    traced = jax.jit(program).trace(model.params, cache, fed, fed)
    text = traced.lower(lowering_platforms=(platform,)).as_text()
    narrow = r"dot_general.*: \(tensor<\S+xbf16>, tensor<\S+xbf16>\) -> tensor<\S+xf32>"
    assert len(re.findall(narrow, text)) == products


def test_another_type_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"engine\.cache_dtype='int8' is unknown: use float32"):
        EngineConfig(cache_dtype="int8")
