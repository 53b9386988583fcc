"""From a published weight version to parameters that the compiled programs take.

What is served may be stored in fewer bits than what was trained: a step that decodes few tokens
does little but read the weights. Norms and biases stay fp32; they are small.

Owns the checks: what does not belong to the base model, does not fit it, or is not finite is a
`StoreError`, and nothing has changed. Runs beside serving, in a thread of the caller's choice.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Mapping
from typing import Any, Protocol

import jax
import numpy as np
from jax.typing import DTypeLike

from clawjax.errors import ConfigError, StoreError
from clawjax.models import lora
from clawjax.models.export import tensors_to_params
from clawjax.models.load import LoadedModel
from clawjax.models.peft import read_plain_lora
from clawjax.models.transformer import Params
from clawjax.protocols import BASE_KIND, WeightVersion

__all__ = ["WeightReader", "read_params", "return_freed_memory", "served"]

_merge = jax.jit(lora.merge)


class WeightReader(Protocol):
    """The part of a `WeightStore` that an engine uses."""

    def latest(self) -> WeightVersion | None:
        """The version to begin with; None for the base model."""
        ...

    def load(self, version: int) -> tuple[WeightVersion, Mapping[str, np.ndarray]]:
        """Read and verify a version; `StoreError` where it cannot be."""
        ...


def read_params(model: LoadedModel, store: WeightReader, version: int) -> Params:
    """Load, verify and build the parameters of a version, on the device; 0 is the model as it is.

    Raises:
        StoreError: damaged, of another base model, of other shapes, or not finite.
    """
    weights, tensors = store.load(version)
    if weights.kind == BASE_KIND:
        return model.params
    if weights.base_model != model.base_id:
        msg = (
            f"weights {version} were trained from {weights.base_model!r}, this engine serves "
            f"{model.base_id!r}: serve that model or use another run.dir"
        )
        raise StoreError(msg)
    _require_finite(version, tensors)
    try:
        params = _build(model, weights, tensors)
    except (ConfigError, KeyError, TypeError, ValueError) as error:
        msg = f"weights {version} do not fit {model.base_id!r}: {error}"
        raise StoreError(msg) from error
    if _shapes(params) != _shapes(model.params):
        msg = f"weights {version} have other shapes than {model.base_id!r}: they do not fit"
        raise StoreError(msg)
    return jax.block_until_ready(params)


def served(params: Params, dtype: DTypeLike) -> Params:
    """The parameters with kernels and the embedding table in `dtype`."""
    return jax.tree.map(lambda leaf: leaf.astype(dtype) if leaf.ndim == 2 else leaf, params)


def return_freed_memory() -> None:
    """Give the memory of replaced weights back to the system; without glibc there is no need.

    Weights are hundreds of arrays of a few MB, which glibc keeps for later once they are freed:
    the process would grow to several copies of the model over the first swaps.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def _build(model: LoadedModel, weights: WeightVersion, tensors: Mapping[str, np.ndarray]) -> Params:
    if weights.kind == "full":
        return tensors_to_params(tensors, model.architecture)
    if weights.kind == "adapter":
        scale = read_plain_lora(weights.path / "adapter_config.json").scale
        return _merge(model.params, lora.adapter_from_tensors(tensors), scale)
    msg = f"kind {weights.kind!r} is unknown: use adapter or full"
    raise ConfigError(msg)


def _require_finite(version: int, tensors: Mapping[str, np.ndarray]) -> None:
    for name, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            msg = f"weights {version} hold a NaN or an infinity in {name!r}: they are refused"
            raise StoreError(msg)


def _shapes(params: Params) -> Any:
    """Structure, shapes and types as one comparable value."""
    values, structure = jax.tree.flatten(params)
    return structure, [(value.shape, value.dtype) for value in values]
