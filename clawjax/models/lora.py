"""Low-rank adapters (Hu et al. 2021, arXiv:2106.09685): `W' = W + A B alpha / rank`.

qwix computes `x W + (x A) B alpha / rank` without ever forming `W'`. An adapter is a tree of its
own, holding only `kernel_lora_a [in, r]` and `kernel_lora_b [r, out]`; the base stays untouched.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import qwix
from jax import Array

from clawjax.config import LoraConfig
from clawjax.errors import ConfigError
from clawjax.models.architecture import Architecture
from clawjax.models.layout import LAYER_LINEARS, leaves
from clawjax.models.transformer import Params, Transformer

__all__ = [
    "adapter_from_tensors",
    "adapter_to_tensors",
    "init_adapter",
    "join",
    "merge",
    "peft_config",
    "with_lora",
]

_A, _B = "kernel_lora_a", "kernel_lora_b"
_PEFT_PREFIX = "base_model.model."


def with_lora(model: Transformer, config: LoraConfig) -> Transformer:
    """The model, adding adapters to the targeted layers; apply it to `join(params, adapter)`.

    Raises:
        ConfigError: a target that this model does not have.
    """
    _check_targets(model.arch, config)
    pattern = rf"(.*/)?({'|'.join(config.targets)})"
    rule = qwix.LoraRule(module_path=pattern, rank=config.rank, alpha=config.alpha)
    methods = ("__call__", "logits")
    adapted = qwix.apply_lora_to_model(model, qwix.LoraProvider([rule]), methods=methods)
    return cast("Transformer", adapted)


def init_adapter(model: Transformer, params: Params, config: LoraConfig, key: Array) -> Params:
    """A fresh adapter that changes nothing: A is He-uniform, B is zero.

    Raises:
        ConfigError: a target that this model does not have.
    """
    _check_targets(model.arch, config)
    draw = jax.nn.initializers.he_uniform()
    adapter: dict[str, Any] = {}
    for index, path in enumerate(_targeted(model.arch, config)):
        rows, columns = _node(params, path)["kernel"].shape
        leaf = _node(adapter, path, create=True)
        leaf[_A] = draw(jax.random.fold_in(key, index), (rows, config.rank), jnp.float32)
        leaf[_B] = jnp.zeros((config.rank, columns), jnp.float32)
    return adapter


def join(params: Params, adapter: Params) -> Params:
    """Base and adapter in one tree; shares all arrays."""
    joined = dict(params)
    for key, value in adapter.items():
        joined[key] = join(params.get(key, {}), value) if isinstance(value, dict) else value
    return joined


def merge(params: Params, adapter: Params, config: LoraConfig | float) -> Params:
    """`W + A B alpha / rank` in the structure of `params`; untouched leaves are shared.

    Args:
        params: the base, without adapter leaves.
        adapter: as `init_adapter` gives.
        config: rank and alpha, or their quotient alpha / rank itself.
    """
    scale = config.alpha / config.rank if isinstance(config, LoraConfig) else config
    merged = dict(params)
    for key, value in adapter.items():
        if isinstance(value, dict):
            merged[key] = merge(params[key], value, scale)
    if _A in adapter:
        merged["kernel"] = params["kernel"] + adapter[_A] @ adapter[_B] * scale
    return merged


def adapter_to_tensors(adapter: Params) -> dict[str, np.ndarray]:
    """The adapter under peft's names: `lora_A.weight [r, in]`, `lora_B.weight [out, r]`."""
    tensors: dict[str, np.ndarray] = {}
    for path, leaf in _adapted(adapter):
        name = _PEFT_PREFIX + _module_name(path)
        for side, key in (("lora_A", _A), ("lora_B", _B)):
            stored = np.asarray(leaf[key], np.float32).T
            tensors[f"{name}.{side}.weight"] = np.ascontiguousarray(stored)
    return tensors


def adapter_from_tensors(tensors: Mapping[str, np.ndarray]) -> Params:
    """Undo `adapter_to_tensors`.

    Raises:
        ConfigError: a name that is not an adapter's.
    """
    adapter: dict[str, Any] = {}
    for name, tensor in tensors.items():
        found = re.fullmatch(rf"{re.escape(_PEFT_PREFIX)}(.+)\.lora_([AB])\.weight", name)
        if found is None:
            msg = f"tensor {name!r} is no part of a LoRA adapter: was it saved by peft?"
            raise ConfigError(msg)
        leaf = _node(adapter, _module_path(found[1]), create=True)
        leaf[_A if found[2] == "A" else _B] = jnp.asarray(tensor.T, jnp.float32)
    return adapter


def peft_config(config: LoraConfig, base_model: str) -> dict[str, Any]:
    """The contents of `adapter_config.json`; the order of the targets makes no difference."""
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_model,
        "r": config.rank,
        "lora_alpha": config.alpha,
        "lora_dropout": 0.0,
        "target_modules": sorted(config.targets),
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
    }


def _check_targets(arch: Architecture, config: LoraConfig) -> None:
    allowed = LAYER_LINEARS if arch.is_tied else (*LAYER_LINEARS, "lm_head")
    for target in config.targets:
        if target not in allowed:
            msg = (
                f"learner.lora.targets names {target!r}, which this model does not have: "
                f"use some of {', '.join(allowed)}"
            )
            raise ConfigError(msg)


def _targeted(arch: Architecture, config: LoraConfig) -> Iterator[tuple[str, ...]]:
    """Paths of the linear layers that get an adapter."""
    for leaf in leaves(arch):
        if leaf.is_kernel and leaf.path[-2] in config.targets:
            yield leaf.path[:-1]


def _adapted(tree: Params, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The nodes of an adapter that hold its matrices."""
    if _A in tree:
        yield path, tree
        return
    for key, value in tree.items():
        yield from _adapted(value, (*path, key))


def _node(tree: Params, path: tuple[str, ...], *, create: bool = False) -> Any:
    for key in path:
        tree = tree.setdefault(key, {}) if create else tree[key]
    return tree


def _module_name(path: tuple[str, ...]) -> str:
    """`("layers_3", "mlp", "up_proj")` to `model.layers.3.mlp.up_proj`."""
    if path == ("lm_head",):
        return "lm_head"
    return ".".join(("model", path[0].replace("_", "."), *path[1:]))


def _module_path(name: str) -> tuple[str, ...]:
    """Undo `_module_name`."""
    if name == "lm_head":
        return ("lm_head",)
    _, layers, index, *rest = name.split(".")
    return (f"{layers}_{index}", *rest)
