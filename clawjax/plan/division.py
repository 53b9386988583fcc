"""How many numbers of a model one device holds, by the rules of the learner's mesh.

Pure arithmetic on the table of tensors (`clawjax.models.layout`); tests hold it to the shapes that
the learner really makes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from clawjax.config import LoraConfig
from clawjax.models.architecture import Architecture
from clawjax.models.layout import Leaf, leaves

__all__ = ["WHOLE", "Division", "adapter_size", "model_size"]

_INWARD = ("o_proj", "down_proj")
"""Layers whose inputs, not outputs, are divided over `tensor`."""


class Division(NamedTuple):
    """Devices along the axes of a mesh; 1 everywhere is a single device."""

    data: int = 1
    fsdp: int = 1
    tensor: int = 1

    @property
    def devices(self) -> int:
        """All of them."""
        return self.data * self.fsdp * self.tensor

    @property
    def rows(self) -> int:
        """Parts that the rows of a batch are divided into."""
        return self.data * self.fsdp


WHOLE = Division()
"""A single device."""


def model_size(arch: Architecture, division: Division = WHOLE) -> int:
    """Parameters of the model that one device holds."""
    return sum(_part(leaf.shape, _axes(leaf, arch, division), division) for leaf in leaves(arch))


def adapter_size(arch: Architecture, lora: LoraConfig, division: Division = WHOLE) -> int:
    """Parameters of an adapter that one device holds: `[in, r]` and `[r, out]` per layer."""
    return sum(
        _part((wide_in, lora.rank), (axis_in, None), division)
        + _part((lora.rank, wide_out), (None, axis_out), division)
        for (wide_out, wide_in), (axis_out, axis_in) in _targeted(arch, lora, division)
    )


_Pair = tuple[tuple[int, ...], tuple[str | None, ...]]


def _targeted(arch: Architecture, lora: LoraConfig, division: Division) -> Iterator[_Pair]:
    for leaf in leaves(arch):
        if leaf.is_kernel and leaf.path[-2] in lora.targets:
            yield leaf.shape, _axes(leaf, arch, division)


def _axes(leaf: Leaf, arch: Architecture, division: Division) -> tuple[str | None, ...]:
    """The axis that divides each dimension of a tensor, as Hugging Face stores it.

    Keys and values stay whole where there are fewer heads of them than devices along `tensor`.
    """
    module = leaf.path[-2]
    is_whole = module in ("k_proj", "v_proj") and arch.num_kv_heads % division.tensor > 0
    if not leaf.is_kernel and len(leaf.shape) == 1:
        is_divided = module in ("q_proj", "k_proj", "v_proj") and not is_whole
        return ("tensor",) if is_divided else (None,)
    if module in _INWARD:
        return ("fsdp", "tensor")
    return (None if is_whole else "tensor", "fsdp")


def _part(shape: tuple[int, ...], axes: tuple[str | None, ...], division: Division) -> int:
    """A dimension that an axis does not divide evenly stays whole."""
    size = 1
    for length, axis in zip(shape, axes, strict=True):
        devices = 1 if axis is None else getattr(division, axis)
        size *= length if length % devices else length // devices
    return size
