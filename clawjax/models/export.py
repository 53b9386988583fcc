"""Weights as Hugging Face tensors, both ways, and directories that transformers and peft load."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np
from safetensors.numpy import save_file

from clawjax.config import LoraConfig
from clawjax.errors import ConfigError
from clawjax.models.architecture import Architecture
from clawjax.models.layout import Leaf, leaves
from clawjax.models.lora import adapter_to_tensors, peft_config
from clawjax.models.registry import config_from_architecture
from clawjax.models.transformer import Params

if TYPE_CHECKING:
    from clawjax.models.load import LoadedModel

__all__ = [
    "checked_shape",
    "export_adapter",
    "export_merged",
    "params_to_tensors",
    "tensors_to_params",
]

_ADAPTER_CONFIG = "adapter_config.json"


def params_to_tensors(params: Params, architecture: Architecture) -> dict[str, np.ndarray]:
    """The tree under Hugging Face's names: linear layers `[out, in]`, contiguous fp32."""
    return {leaf.tensor: _stored(leaf, params) for leaf in leaves(architecture)}


def tensors_to_params(tensors: Mapping[str, np.ndarray], architecture: Architecture) -> Params:
    """The tree of a `Transformer`, fp32; each tensor is asked for once, so a view may be lazy.

    Raises:
        ConfigError: a tensor is missing or has another shape than the architecture says.
    """
    params: dict[str, Any] = {}
    for leaf in leaves(architecture):
        checked_shape(leaf, tensors)
        tensor = tensors[leaf.tensor]
        *parents, last = leaf.path
        node = params
        for key in parents:
            node = node.setdefault(key, {})
        node[last] = jnp.asarray(tensor.T if leaf.is_kernel else tensor, jnp.float32)
    return params


def checked_shape(leaf: Leaf, tensors: Mapping[str, np.ndarray]) -> None:
    """See that a tensor is there and has its shape, without reading it where that can be helped.

    Raises:
        ConfigError: it is missing, or has another one.
    """
    if leaf.tensor not in tensors:
        msg = f"tensor {leaf.tensor!r} is missing: the weights are incomplete or of another model"
        raise ConfigError(msg)
    known = getattr(tensors, "shape", None)
    shape = tuple(tensors[leaf.tensor].shape if known is None else known(leaf.tensor))
    if shape != leaf.shape:
        msg = (
            f"tensor {leaf.tensor!r} has shape {shape}, the configuration says "
            f"{leaf.shape}: weights and configuration are of different models"
        )
        raise ConfigError(msg)


def export_merged(directory: Path, model: LoadedModel, params: Params) -> None:
    """Write a whole model: weights, configuration, tokenizer and chat template.

    Args:
        directory: created where needed; files in it are overwritten.
        model: where architecture and tokenizer are taken from.
        params: base parameters or the result of `merge`.

    Raises:
        ConfigError: another model is there in parts, which readers would take instead, or an
            adapter, which they would put on this one.
    """
    _refuse(directory / "model.safetensors.index.json", "names the parts of another model")
    _refuse(directory / _ADAPTER_CONFIG, "is of an adapter, which readers would put on the model")
    directory.mkdir(parents=True, exist_ok=True)
    tensors = params_to_tensors(params, model.architecture)
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    eos_ids = sorted(model.tokenizer.eos_ids)
    config = config_from_architecture(model.architecture) | {"eos_token_id": eos_ids}
    _write_json(directory / "config.json", config)
    _write_json(directory / "generation_config.json", {"eos_token_id": eos_ids})
    model.tokenizer.save(directory)


def export_adapter(directory: Path, adapter: Params, config: LoraConfig, base_model: str) -> None:
    """Write an adapter as peft keeps it.

    Raises:
        ConfigError: a whole model is there, on which readers would put it.
    """
    _refuse(directory / "config.json", "is of a whole model, on which readers would put it")
    directory.mkdir(parents=True, exist_ok=True)
    tensors = adapter_to_tensors(adapter)
    save_file(tensors, directory / "adapter_model.safetensors", metadata={"format": "pt"})
    _write_json(directory / _ADAPTER_CONFIG, peft_config(config, base_model))


def _refuse(file: Path, what: str) -> None:
    """Raises ConfigError: the file is there, beside which nothing else is to be written."""
    if file.exists():
        msg = f"{file} {what}: name another directory, or empty it"
        raise ConfigError(msg)


def _stored(leaf: Leaf, params: Params) -> np.ndarray:
    node = params
    for key in leaf.path:
        node = node[key]
    tensor = np.asarray(node, np.float32)
    return np.ascontiguousarray(tensor.T if leaf.is_kernel else tensor)


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
