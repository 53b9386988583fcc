"""A LoRA adapter worked into the base's own files, tensor by tensor: `W + B A alpha / rank`.

Invariants: the result has the base's file names, tensors and number types; memory needed is that
of one tensor in fp32; a file without an adapted tensor is the base's, linked. No jax: servers'
weights are made where no accelerator is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from clawjax.errors import StoreError
from clawjax.models.peft import read_plain_lora
from clawjax.models.stream import Stored, open_tensors, stored_tensors, write_tensors

__all__ = ["Adapter", "link", "read_adapter", "write_merged"]

_SIDE = re.compile(r"base_model\.model\.(.+)\.lora_([AB])\.weight")


class Adapter(NamedTuple):
    """What an adapter adds, by the base's names of the tensors."""

    pairs: Mapping[str, tuple[np.ndarray, np.ndarray]]
    """A `[r, in]` and B `[out, r]`."""
    scale: float
    """alpha / rank."""

    def delta(self, name: str) -> np.ndarray:
        """`B A alpha / rank`, `[out, in]` in fp32."""
        a, b = self.pairs[name]
        return (b.astype(np.float32) @ a.astype(np.float32)) * np.float32(self.scale)


def read_adapter(directory: Path) -> Adapter:
    """An adapter in peft's layout.

    Raises:
        StoreError: incomplete, not finite, or of a kind whose merge is another formula.
    """
    scale = read_plain_lora(directory / "adapter_config.json").scale
    opened = open_tensors(directory / "adapter_model.safetensors")
    sides: dict[str, dict[str, np.ndarray]] = {}
    for name in opened.keys():  # noqa: SIM118  (not a mapping)
        found = _SIDE.fullmatch(name)
        if found is None:
            msg = f"tensor {name!r} in {directory} is no part of a LoRA adapter"
            raise StoreError(msg)
        tensor = opened.get_tensor(name)
        _require_finite(name, tensor)
        sides.setdefault(f"{found[1]}.weight", {})[found[2]] = tensor
    pairs = {}
    for name, both in sides.items():
        if sorted(both) != ["A", "B"]:
            msg = f"the adapter in {directory} has only lora_{next(iter(both))} of {name!r}"
            raise StoreError(msg)
        pairs[name] = (both["A"], both["B"])
    return Adapter(pairs, scale)


def write_merged(directory: Path, base: Sequence[Path], adapter: Adapter) -> int:
    """Write the base's weight files with the adapter worked in; the bytes they have.

    Args:
        directory: existing; the files get the base's names.
        base: safetensors files.
        adapter: from `read_adapter`.

    Raises:
        StoreError: it adapts what the base does not have, has other shapes, or overflows.
    """
    layouts = {file: stored_tensors(file) for file in base}
    shapes = {stored.name: stored.shape for layout in layouts.values() for stored in layout}
    _require_fitting(adapter, shapes)
    written = 0
    for file, layout in layouts.items():
        target = directory / file.name
        if any(stored.name in adapter.pairs for stored in layout):
            written += _write_file(target, file, layout, adapter)
        else:
            link(file, target)
            written += target.stat().st_size
    return written


def link(source: Path, target: Path) -> None:
    """The same file under another name, without a copy: hard where the disk allows it."""
    resolved = source.resolve()
    try:
        target.hardlink_to(resolved)
    except OSError:
        target.symlink_to(resolved)


def _write_file(target: Path, file: Path, layout: Sequence[Stored], adapter: Adapter) -> int:
    opened = open_tensors(file)

    def read(name: str) -> np.ndarray:
        tensor = opened.get_tensor(name)
        if name not in adapter.pairs:
            return tensor
        merged = (tensor.astype(np.float32) + adapter.delta(name)).astype(tensor.dtype)
        _require_finite(name, merged.astype(np.float32))
        return merged

    return write_tensors(target, layout, read, metadata=opened.metadata())


def _require_fitting(adapter: Adapter, shapes: Mapping[str, tuple[int, ...]]) -> None:
    for name, (a, b) in adapter.pairs.items():
        adapted = (b.shape[0], a.shape[1])
        if name not in shapes:
            msg = f"the adapter adapts {name!r}, which the base model does not have"
            raise StoreError(msg)
        if shapes[name] != adapted or a.shape[0] != b.shape[1]:
            msg = f"the adapter's {name!r} is {b.shape} x {a.shape}, the base's is {shapes[name]}"
            raise StoreError(msg)


def _require_finite(name: str, tensor: np.ndarray) -> None:
    if not np.isfinite(tensor).all():
        msg = f"tensor {name!r} holds a NaN or an infinity: these weights are refused"
        raise StoreError(msg)
