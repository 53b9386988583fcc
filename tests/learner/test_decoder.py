"""The stacked decoder computes what `Transformer` computes, values and gradients."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from clawjax.config import LoraConfig, ModelConfig
from clawjax.learner.decoder import HEAD_KEYS, StackedDecoder, stack, unstack
from clawjax.models.load import LoadedModel, load_model
from clawjax.models.lora import init_adapter, join, with_lora
from clawjax.models.transformer import Params, Transformer, causal_attention

LORA = LoraConfig(rank=2, alpha=8.0)
IDS = jnp.asarray(np.random.default_rng(0).integers(0, 200, (2, 12)), jnp.int32)
MASK = jnp.asarray([[True] * 12, [True] * 9 + [False] * 3])
POSITIONS = jnp.broadcast_to(jnp.arange(12), (2, 12))


def load(family: str) -> LoadedModel:
    return load_model(ModelConfig(path=f"random:{family}", context_length=64))


def logits(decoder: StackedDecoder, stacked: Params) -> jax.Array:
    hidden = decoder.hidden(stacked, IDS, POSITIONS, MASK.astype(jnp.int32))
    return decoder.logits({key: stacked[key] for key in HEAD_KEYS & set(stacked)}, hidden)


def whole(transformer: Transformer, params: Params) -> jax.Array:
    hidden, _ = transformer.apply({"params": params}, IDS, POSITIONS, causal_attention(MASK))
    return transformer.apply({"params": params}, hidden, method="logits")


def test_stacking_is_undone_without_loss() -> None:
    model = load("qwen2")
    restored = unstack(stack(model.params))
    assert jax.tree.structure(restored) == jax.tree.structure(dict(model.params))
    jax.tree.map(np.testing.assert_array_equal, restored, dict(model.params))


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
def test_logits_equal_the_transformers(family: str) -> None:
    model = load(family)
    actual = jax.jit(lambda p: logits(StackedDecoder(model.architecture), p))(stack(model.params))
    expected = jax.jit(lambda p: whole(Transformer(model.architecture), p))(model.params)
    np.testing.assert_allclose(actual[MASK], expected[MASK], rtol=1e-4, atol=1e-5)
    assert np.isfinite(actual).all()  # padding says nothing, but it must not poison sums


def test_packed_sequences_do_not_see_each_other() -> None:
    model = load("llama")
    decoder, params = StackedDecoder(model.architecture), stack(model.params)
    hidden = jax.jit(decoder.hidden)
    first, second = IDS[:1, :5], IDS[1:, :7]

    def alone(ids: jax.Array) -> jax.Array:
        positions = jnp.arange(ids.shape[1])[None]
        return hidden(params, ids, positions, jnp.ones_like(ids))

    together = hidden(
        params,
        jnp.concatenate([first, second], axis=1),
        jnp.concatenate([jnp.arange(5), jnp.arange(7)])[None],
        jnp.asarray([[1] * 5 + [2] * 7]),
    )
    expected = jnp.concatenate([alone(first), alone(second)], axis=1)
    np.testing.assert_allclose(together, expected, rtol=1e-4, atol=1e-5)


def test_adapted_logits_and_their_gradients_equal_the_transformers() -> None:
    model = load("qwen3")
    plain = Transformer(model.architecture)
    adapter = init_adapter(plain, model.params, LORA, jax.random.key(0))
    adapter = jax.tree.map(lambda leaf: leaf + 0.05, adapter)  # B is zero: give it a say
    decoder, adapted = StackedDecoder(model.architecture, LORA), with_lora(plain, LORA)
    base = stack(model.params)

    def ours(stacked_adapter: Params) -> jax.Array:
        return jnp.mean(jnp.sin(logits(decoder, join(base, stacked_adapter)))[MASK])

    def theirs(adapter: Params) -> jax.Array:
        return jnp.mean(jnp.sin(whole(adapted, join(model.params, adapter)))[MASK])

    value, slopes = jax.jit(jax.value_and_grad(ours))(stack(adapter))
    expected, expected_slopes = jax.jit(jax.value_and_grad(theirs))(adapter)
    assert float(value) == pytest.approx(float(expected), rel=1e-4)
    jax.tree.map(
        lambda ours, theirs: np.testing.assert_allclose(ours, theirs, rtol=1e-2, atol=1e-5),
        unstack(slopes),
        expected_slopes,
    )
    no_adapter = jnp.mean(jnp.sin(logits(StackedDecoder(model.architecture), base))[MASK])
    assert abs(float(no_adapter) - float(value)) > 1e-3
