"""The rules by which weights are divided, and which meshes are refused."""

from __future__ import annotations

import dataclasses

import jax
import pytest
from jax.sharding import AbstractMesh
from jax.sharding import PartitionSpec as Spec

from clawjax.config import LoraConfig, MeshConfig
from clawjax.errors import ConfigError
from clawjax.models.layout import leaves
from clawjax.models.lora import init_adapter
from clawjax.models.registry import FAMILIES
from clawjax.models.sharding import AXES, RULES, Placement, build_mesh
from clawjax.models.tiny import tiny_architecture
from clawjax.models.transformer import Transformer

LLAMA = tiny_architecture("llama")


def placement(data: int = 2, fsdp: int = 2, tensor: int = 2, **changes: int) -> Placement:
    mesh = AbstractMesh((data, fsdp, tensor), AXES)
    return Placement(dataclasses.replace(LLAMA, **changes), mesh)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_weight_of_every_family_has_a_rule(family: str) -> None:
    arch = dataclasses.replace(tiny_architecture(family), has_output_bias=True)
    mesh = AbstractMesh((1, 2, 2), AXES)
    whole = set()
    for leaf in leaves(arch):
        shape = leaf.shape[::-1] if leaf.is_kernel else leaf.shape
        spec = Placement(arch, mesh).spec("/".join(leaf.path), shape)
        if leaf.is_kernel or leaf.path[0] == "embed_tokens":
            assert set(spec) == {"fsdp", "tensor"}, leaf.path
        elif "tensor" not in spec:
            whole.add(leaf.path[-2])
    assert all("norm" in name or name == "o_proj" for name in whole)
    assert set(RULES) == set(FAMILIES)


def test_adapters_lie_as_the_weights_they_adapt() -> None:
    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    shapes = jax.eval_shape(
        lambda: Transformer(LLAMA).init(
            jax.random.key(0),
            jax.numpy.zeros((1, 4), int),
            jax.numpy.zeros((1, 4), int),
            lambda q, k, v, cache: (q, cache),
        )
    )["params"]
    adapter = init_adapter(
        Transformer(LLAMA), shapes, LoraConfig(targets=targets), jax.random.key(0)
    )
    paths, _ = jax.tree_util.tree_flatten_with_path(adapter)
    for path, leaf in paths:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        module, side = name.rsplit("/kernel_lora_", 1)
        node = shapes
        for key in f"{module}/kernel".split("/"):
            node = node[key]
        kernel = placement().spec(f"{module}/kernel", node.shape)
        at = 0 if side == "a" else 1
        assert placement().spec(name, leaf.shape)[at] == kernel[at]


def test_layers_that_are_stacked_are_not_divided_by_layer() -> None:
    name = "layers/mlp/up_proj/kernel"
    assert placement().spec(name, (2, 64, 128)) == Spec(None, "fsdp", "tensor")
    assert placement().spec(f"opt_state/1/0/mu/{name}", (2, 64, 128)) == Spec(
        None, "fsdp", "tensor"
    )
    assert placement().spec("opt_state/1/0/count", ()) == Spec()


def test_what_an_axis_does_not_divide_stays_whole() -> None:
    assert placement().spec("embed_tokens/embedding", (365, 64)) == Spec(None, "fsdp")
    few = placement(1, 1, 4)  # two heads of keys and values
    assert few.spec("layers_0/self_attn/k_proj/kernel", (64, 32)) == Spec("fsdp", None)
    assert few.spec("layers_0/self_attn/q_proj/kernel", (64, 64)) == Spec("fsdp", "tensor")


def test_a_leaf_without_a_rule_is_named() -> None:
    with pytest.raises(ConfigError, match=r"layers_0/router/kernel \[64, 8\] has no rule"):
        placement().spec("layers_0/router/kernel", (64, 8))


def test_a_model_that_the_mesh_does_not_divide_is_refused_with_the_fix() -> None:
    with pytest.raises(ConfigError, match=r"mesh\.tensor=8 .* heads of 4: use 1, 2, 4, or"):
        placement(1, 1, 8)
    with pytest.raises(ConfigError, match=r"mesh\.tensor=3 .* heads of 4: use 1, 2, or"):
        placement(1, 1, 3)
    with pytest.raises(ConfigError, match=r"mesh\.fsdp=3 .* hidden size of 64"):
        placement(1, 3, 1)


def test_one_device_is_no_mesh() -> None:
    assert build_mesh(MeshConfig()) is None
    assert build_mesh(MeshConfig(data=-1), jax.devices()[:1]) is None
    assert build_mesh(MeshConfig(fsdp=None), jax.devices()[:1]) is None
    tree = {"embed_tokens": 1}
    assert Placement(LLAMA).place(tree) is tree


def test_a_mesh_of_more_devices_than_there_are_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"data=2 x fsdp=1 x tensor=3\) takes 6 .*there are 1"):
        build_mesh(MeshConfig(data=2, tensor=3), jax.devices()[:1])
    with pytest.raises(ConfigError, match=r"takes a multiple of 2 devices, there are 1"):
        build_mesh(MeshConfig(data=2, tensor=-1), jax.devices()[:1])


def test_sizes_that_are_none_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"learner\.mesh\.fsdp=0 is no number of devices"):
        MeshConfig(fsdp=0)
    with pytest.raises(ConfigError, match=r"leaves data and tensor open"):
        MeshConfig(data=-1, tensor=None)
