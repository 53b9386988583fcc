"""The embedded engine's plan beside its own arrays."""

import dataclasses

import jax
import pytest
from plan_configs import load

from clawjax.engine.adoption import served
from clawjax.engine.decode import Decoder
from clawjax.engine.kv import new_cache
from clawjax.models.load import load_model
from clawjax.plan import find_architecture, plan_run
from clawjax.plan.engine import served_bytes


def parts_of(config):
    return {part.name: part.size for part in plan_run(config).engine.parts}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
def test_served_weights_are_planned_to_the_byte(family, dtype):
    config = load("model=tiny", f"model.path=random:{family}")
    model = load_model(config.model)
    real = sum(leaf.nbytes for leaf in jax.tree.leaves(served(model.params, dtype)))
    assert served_bytes(model.architecture, dtype) == real


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("context", [1024, 1000])
def test_the_cache_is_planned_to_the_byte(context, dtype):
    chosen = f"model.context_length={context}", f"engine.cache_dtype={dtype}"
    config = load("model=tiny", "engine=tiny", *chosen)
    arch = find_architecture(config.model)
    decoder = Decoder(arch, context, dataclasses.replace(config.engine, warm_up=False))
    rows = config.engine.slots + config.engine.kept_prefixes
    buffers = jax.eval_shape(
        lambda: new_cache(arch, rows=rows, capacity=decoder.capacity, dtype=dtype)
    )
    size = sum(buffer.size * buffer.dtype.itemsize for buffer in jax.tree.leaves(buffers))
    assert parts_of(config)["KV cache"] == size
    assert plan_run(config).cache_tokens == rows * decoder.capacity


def test_where_a_version_is_cast_both_forms_of_it_have_room():
    name = "incoming weights in fp32"
    config = load("model=tiny", "engine=tiny", "engine.weights_dtype=bfloat16")
    model = load_model(config.model)
    assert parts_of(config)[name] == sum(leaf.nbytes for leaf in jax.tree.leaves(model.params))
    assert name not in parts_of(load("model=tiny", "engine=tiny", "engine.weights_dtype=float32"))
