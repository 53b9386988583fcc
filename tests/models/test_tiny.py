import jax
import jax.numpy as jnp
import numpy as np
import pytest

from clawjax.config import ModelConfig
from clawjax.errors import ConfigError
from clawjax.models.load import load_model
from clawjax.models.tiny import tiny_architecture
from clawjax.models.transformer import Transformer, causal_attention

FAMILIES = ("llama", "qwen2", "qwen3")


def load(family, seed=0):
    return load_model(ModelConfig(path=f"random:{family}"), seed=seed)


@pytest.mark.parametrize("family", FAMILIES)
def test_parameters_have_the_structure_that_the_network_initialises(family):
    model = load(family)
    ids = jnp.ones((1, 3), jnp.int32)
    args = (ids, jnp.arange(3)[None], causal_attention(ids > 0))
    fresh = jax.eval_shape(
        lambda key: Transformer(model.architecture).init(key, *args, method="score")["params"],
        jax.random.key(0),
    )
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), model.params) == jax.tree.map(
        lambda leaf: (leaf.shape, leaf.dtype), fresh
    )


def test_equal_seeds_give_equal_weights():
    first, again, other = load("qwen2"), load("qwen2"), load("qwen2", seed=1)
    equal = jax.tree.map(np.array_equal, first.params, again.params)
    assert jax.tree.all(equal)
    assert first.base_id == again.base_id != other.base_id
    assert not np.array_equal(
        first.params["embed_tokens"]["embedding"], other.params["embed_tokens"]["embedding"]
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_the_next_token_is_open_and_not_the_last_one_again(family):
    model = load(family)
    ids = jnp.asarray([model.tokenizer.encode("hello there, how are you?")], jnp.int32)
    args = (ids, jnp.arange(ids.shape[1])[None], causal_attention(jnp.ones_like(ids, bool)))
    network = Transformer(model.architecture)
    scores = jax.jit(lambda tree: network.apply({"params": tree}, *args, method="score"))(
        model.params
    )
    chances = np.asarray(jax.nn.softmax(scores[0]))
    repeats = chances[np.arange(ids.shape[1]), np.asarray(ids[0])]
    assert chances.max() < 0.5
    assert repeats.mean() < 0.1


def test_families_differ_as_the_real_ones_do():
    assert tiny_architecture("qwen2").has_qkv_bias
    assert tiny_architecture("qwen3").has_qk_norm
    assert tiny_architecture("llama").is_tied
    assert not tiny_architecture("qwen3").is_tied
    with pytest.raises(ConfigError, match=r"random:mamba.*llama, qwen2 or qwen3"):
        tiny_architecture("mamba")
