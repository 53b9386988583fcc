import dataclasses
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from clawjax.config import LoraConfig, ModelConfig
from clawjax.errors import ConfigError
from clawjax.models.load import load_model
from clawjax.models.lora import (
    adapter_from_tensors,
    adapter_to_tensors,
    init_adapter,
    join,
    merge,
    peft_config,
    with_lora,
)
from clawjax.models.transformer import Transformer, causal_attention


def one_layer(family):
    """Of a tiny model: enough, and compiled in half the time."""
    model = load_model(ModelConfig(path=f"random:{family}"))
    return dataclasses.replace(
        model,
        architecture=dataclasses.replace(model.architecture, num_layers=1),
        params={name: node for name, node in model.params.items() if name != "layers_1"},
    )


MODEL = one_layer("qwen3")
NETWORK = Transformer(MODEL.architecture)
IDS = jnp.asarray([MODEL.tokenizer.encode("hello, this is a test")], jnp.int32)
CONFIG = LoraConfig(rank=3, alpha=7.0, targets=["q_proj", "o_proj", "down_proj", "lm_head"])


def score(network, params):
    args = (IDS, jnp.arange(IDS.shape[1])[None], causal_attention(jnp.ones_like(IDS, bool)))
    return jax.jit(lambda tree: network.apply({"params": tree}, *args, method="score"))(params)


@cache
def base_scores():
    return score(NETWORK, MODEL.params)


def shaken(adapter):
    """The adapter with noise in every leaf, so that it changes something."""
    rng = np.random.default_rng(5)
    return jax.tree.map(
        lambda leaf: jnp.asarray(leaf + rng.normal(0, 0.1, leaf.shape), jnp.float32),
        jax.device_get(adapter),
    )


def fresh(config=CONFIG):
    return init_adapter(NETWORK, MODEL.params, config, jax.random.key(0))


def test_a_fresh_adapter_changes_nothing_and_can_learn():
    adapter = fresh()
    network = with_lora(NETWORK, CONFIG)
    np.testing.assert_array_equal(score(network, join(MODEL.params, adapter)), base_scores())
    spread = jax.grad(lambda tree: score(network, join(MODEL.params, tree)).std())
    gradient = jax.jit(spread)(adapter)
    moved = [float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(gradient)]
    assert sum(value > 0 for value in moved) == len(moved) // 2  # B moves, A waits for B


def test_merged_weights_compute_what_the_adapter_does():
    adapter = shaken(fresh())
    aside = score(with_lora(NETWORK, CONFIG), join(MODEL.params, adapter))
    merged = score(NETWORK, jax.jit(merge)(MODEL.params, adapter, CONFIG.alpha / CONFIG.rank))
    assert jnp.abs(aside - base_scores()).max() > 0.5
    np.testing.assert_allclose(aside, merged, atol=2e-5)


def test_the_head_is_adapted_where_logits_are_asked_for_alone():
    adapter = {"lm_head": shaken(fresh())["lm_head"]}
    hidden = jnp.ones((1, 2, MODEL.architecture.hidden_size))
    network = with_lora(NETWORK, dataclasses.replace(CONFIG, targets=["lm_head"]))
    joined = {"params": join(MODEL.params, adapter)}
    adapted = network.apply(joined, hidden, method="logits")
    a, b = adapter["lm_head"]["kernel_lora_a"], adapter["lm_head"]["kernel_lora_b"]
    kernel = MODEL.params["lm_head"]["kernel"] + a @ b * (CONFIG.alpha / CONFIG.rank)
    np.testing.assert_allclose(adapted, hidden @ kernel, atol=2e-5)


def test_merging_shares_what_is_not_adapted_and_keeps_the_base():
    before = jax.tree.map(np.array, MODEL.params)
    merged = merge(MODEL.params, shaken(fresh()), CONFIG)
    assert jax.tree.structure(merged) == jax.tree.structure(MODEL.params)
    assert merged["embed_tokens"]["embedding"] is MODEL.params["embed_tokens"]["embedding"]
    assert merged["layers_0"]["mlp"]["up_proj"] is MODEL.params["layers_0"]["mlp"]["up_proj"]
    assert jax.tree.all(jax.tree.map(np.array_equal, before, MODEL.params))


def test_only_targets_are_adapted():
    adapter = fresh(LoraConfig(rank=2, targets=["v_proj"]))
    assert set(adapter) == {"layers_0"}
    assert set(adapter["layers_0"]) == {"self_attn"}
    leaf = adapter["layers_0"]["self_attn"]["v_proj"]
    assert {name: array.shape for name, array in leaf.items()} == {
        "kernel_lora_a": (64, 2),
        "kernel_lora_b": (2, 32),
    }
    assert float(jnp.abs(leaf["kernel_lora_a"]).max()) <= (6 / 64) ** 0.5
    assert not leaf["kernel_lora_b"].any()


def test_qwix_initialises_the_same_tree():
    args = (IDS, jnp.arange(IDS.shape[1])[None], causal_attention(jnp.ones_like(IDS, bool)))
    theirs = jax.eval_shape(
        lambda key: with_lora(NETWORK, CONFIG).init(key, *args, method="score")["params"],
        jax.random.key(0),
    )
    ours = join(MODEL.params, fresh())
    assert jax.tree.map(jnp.shape, ours) == jax.tree.map(jnp.shape, theirs)


def test_peft_names_and_orientation():
    adapter = shaken(fresh())
    tensors = adapter_to_tensors(adapter)
    a = tensors["base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"]
    b = tensors["base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight"]
    assert (a.shape, b.shape) == ((3, 64), (64, 3))
    assert "base_model.model.lm_head.lora_A.weight" in tensors
    np.testing.assert_array_equal(a.T, adapter["layers_0"]["self_attn"]["q_proj"]["kernel_lora_a"])
    assert all(tensor.flags.c_contiguous for tensor in tensors.values())


def test_an_adapter_survives_its_tensors():
    adapter = shaken(fresh())
    again = adapter_from_tensors(adapter_to_tensors(adapter))
    assert jax.tree.all(jax.tree.map(np.array_equal, adapter, again))


def test_tensors_that_are_no_adapter_are_refused():
    with pytest.raises(ConfigError, match=r"'model\.norm\.weight' is no part"):
        adapter_from_tensors({"model.norm.weight": np.ones(3, np.float32)})


@pytest.mark.parametrize("targets", [["q_proj", "qproj"], ["embed_tokens"], [".*"]])
def test_an_unknown_target_is_named_with_the_known_ones(targets):
    config = LoraConfig(targets=targets)
    for build in (with_lora, lambda network, c: fresh(c)):
        with pytest.raises(ConfigError, match="does not have: use some of q_proj"):
            build(NETWORK, config)


def test_a_tied_head_is_no_target():
    tied = load_model(ModelConfig(path="random:llama"))
    with pytest.raises(ConfigError, match="'lm_head'"):
        with_lora(Transformer(tied.architecture), LoraConfig(targets=["lm_head"]))


def test_peft_config_says_what_the_adapter_is():
    config = peft_config(CONFIG, "base@1")
    assert (config["r"], config["lora_alpha"]) == (3, 7.0)
    assert config["target_modules"] == sorted(CONFIG.targets)
    assert config == peft_config(
        dataclasses.replace(CONFIG, targets=CONFIG.targets[::-1]), "base@1"
    )
    assert config["base_model_name_or_path"] == "base@1"
