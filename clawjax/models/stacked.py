"""Weights of a model whose layers are stacked, read and written tensor by tensor.

Training holds all layers of one kind in one array (`clawjax.learner.decoder`), divided among
devices. Invariant: neither reading nor writing has more of a model in a host's memory than one
such array, or what its own devices hold of it; what is read is bit for bit what `stack` makes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np

from clawjax.models.architecture import Architecture
from clawjax.models.export import checked_shape
from clawjax.models.layout import Leaf, leaves
from clawjax.models.processes import whole
from clawjax.models.sharding import Placement
from clawjax.models.transformer import Params

__all__ = ["HasParts", "read_stacked", "stacked_tensors"]

_LAYER, _STACK = "layers_", "layers"


@runtime_checkable
class HasParts(Protocol):
    """Tensors on a disk, of which parts can be read."""

    def shape(self, name: str) -> tuple[int, ...]:
        """Of a whole tensor."""
        ...

    def part(self, name: str, index: tuple[slice, ...]) -> np.ndarray:
        """Some of a tensor, fp32."""
        ...


def read_stacked(tensors: Mapping[str, np.ndarray], placement: Placement) -> Params:
    """The stacked parameters, fp32, each array straight to the devices that hold it.

    Args:
        tensors: by Hugging Face's names; where it has parts, only those are read that this process
            holds.
        placement: of their architecture, with a mesh.

    Raises:
        ConfigError: a tensor is missing or has another shape than the architecture says.
    """
    params: dict[str, Any] = {}
    for path, group in _stacks(placement.architecture):
        for leaf in group:
            checked_shape(leaf, tensors)
        shape = group[0].shape[::-1] if group[0].is_kernel else group[0].shape
        if path[0] == _STACK:
            shape = (len(group), *shape)
        sharding = placement.sharding("/".join(path), shape)
        reader = _Reader(tensors, group, is_stacked=path[0] == _STACK)
        *parents, last = path
        node = params
        for key in parents:
            node = node.setdefault(key, {})
        node[last] = jax.make_array_from_callback(shape, sharding, reader)
    return params


def stacked_tensors(params: Params, architecture: Architecture) -> Iterator[tuple[str, np.ndarray]]:
    """Every tensor under its name at Hugging Face, gathered when it is its turn.

    Where processes share the mesh, all of them have to go through all tensors.
    """
    for leaf in leaves(architecture):
        node, index = params, None
        for key in leaf.path:
            if key.startswith(_LAYER):
                key, index = _STACK, int(key.removeprefix(_LAYER))
            node = node[key]
        held = node if index is None else _layer(node, index)
        tensor = np.asarray(whole(held), np.float32)
        yield leaf.tensor, np.ascontiguousarray(tensor.T if leaf.is_kernel else tensor)


def _layer(stack: Any, index: int) -> Any:
    return stack[index] if isinstance(stack, np.ndarray) else _taken(stack, index)


@jax.jit
def _taken(stack: jax.Array, index: int) -> jax.Array:
    return jax.lax.dynamic_index_in_dim(stack, index, keepdims=False)


class _Reader:
    """Reads what a device holds of one array; devices that hold the same share a reading."""

    def __init__(
        self, tensors: Mapping[str, np.ndarray], group: list[Leaf], *, is_stacked: bool
    ) -> None:
        self._tensors, self._group, self._is_stacked = tensors, group, is_stacked
        self._read: dict[str, np.ndarray] = {}

    def __call__(self, index: tuple[slice, ...] | None) -> np.ndarray:
        assert index is not None
        found = self._read.get(str(index))
        if found is None:
            found = self._read[str(index)] = self._fresh(index)
        return found

    def _fresh(self, index: tuple[slice, ...]) -> np.ndarray:
        if not self._is_stacked:
            return self._part(self._group[0], index)
        return np.stack([self._part(leaf, index[1:]) for leaf in self._group[index[0]]])

    def _part(self, leaf: Leaf, index: tuple[slice, ...]) -> np.ndarray:
        stored = index[::-1] if leaf.is_kernel else index
        if isinstance(self._tensors, HasParts):
            part = self._tensors.part(leaf.tensor, stored)
        else:
            part = np.asarray(self._tensors[leaf.tensor], np.float32)[stored]
        return part.T if leaf.is_kernel else part


def _stacks(architecture: Architecture) -> list[tuple[tuple[str, ...], list[Leaf]]]:
    """Paths of stacked arrays, each with its leaves in the order of layers."""

    def path(leaf: Leaf) -> tuple[str, ...]:
        return (_STACK if leaf.path[0].startswith(_LAYER) else leaf.path[0], *leaf.path[1:])

    ordered = sorted(leaves(architecture), key=path)  # stable: layers stay in order
    return [(where, list(group)) for where, group in groupby(ordered, path)]
