"""Safetensors written one tensor at a time: a whole model never has to be in memory.

Format: https://huggingface.co/docs/safetensors (a length, a JSON header with shapes and offsets,
then the tensors one after another). The header is known before the first tensor is.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes  # noqa: F401 - numpy learns of bfloat16 by it
import numpy as np
from safetensors import SafetensorError, safe_open

from clawjax.errors import StoreError

__all__ = ["Stored", "open_tensors", "stored_tensors", "write_tensors"]

_BYTES = {"F32": 4, "F16": 2, "BF16": 2}
_ALIGNMENT = 8


class Stored(NamedTuple):
    """How a tensor lies in a file."""

    name: str
    dtype: str
    """`F32`, `F16` or `BF16`."""
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Bytes."""
        return math.prod(self.shape) * _BYTES[self.dtype]


def open_tensors(file: Path) -> Any:
    """A safetensors file as numpy reads it, tensor by tensor.

    Raises:
        StoreError: missing, or no such file.
    """
    try:
        return safe_open(file, framework="np")
    except (SafetensorError, OSError) as error:
        msg = f"{file} is not a safetensors file ({error}): download or publish it again"
        raise StoreError(msg) from error


def stored_tensors(file: Path) -> tuple[Stored, ...]:
    """What a safetensors file holds, in the order of its names.

    Raises:
        StoreError: missing, or a tensor is of a type that no model here has.
    """
    opened = open_tensors(file)
    found = []
    for name in sorted(opened.keys()):
        view = opened.get_slice(name)
        dtype = view.get_dtype()
        if dtype not in _BYTES:
            msg = f"tensor {name!r} in {file} is {dtype}: only {', '.join(_BYTES)} can be written"
            raise StoreError(msg)
        found.append(Stored(name, dtype, tuple(view.get_shape())))
    return tuple(found)


def write_tensors(
    file: Path,
    layout: Sequence[Stored],
    read: Callable[[str], np.ndarray],
    *,
    metadata: Mapping[str, str] | None = None,
) -> int:
    """Write a safetensors file that is on the disk when this returns; the bytes it has.

    Args:
        file: replaced if it is there.
        layout: names, types and shapes, in the order in which they are written.
        read: asked for each tensor once, by name, when its turn has come.
        metadata: texts for the header.

    Raises:
        StoreError: a tensor is of another type or shape than the layout says.
    """
    header = _header(layout, dict(metadata or {"format": "pt"}))
    with file.open("wb") as stream:
        stream.write(header)
        for stored in layout:
            tensor = np.asarray(read(stored.name), order="C")
            if tensor.nbytes != stored.size or tensor.shape != stored.shape:
                msg = (
                    f"tensor {stored.name!r} has shape {tensor.shape} and {tensor.nbytes} bytes, "
                    f"{file.name} has room for {stored.shape} and {stored.size}"
                )
                raise StoreError(msg)
            stream.write(tensor.reshape(-1).view(np.uint8).data)
        stream.flush()
        os.fsync(stream.fileno())
        return stream.tell()


def _header(layout: Sequence[Stored], metadata: Mapping[str, str]) -> bytes:
    entries: dict[str, object] = {"__metadata__": metadata}
    offset = 0
    for stored in layout:
        entries[stored.name] = {
            "dtype": stored.dtype,
            "shape": list(stored.shape),
            "data_offsets": [offset, offset + stored.size],
        }
        offset += stored.size
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    return len(text).to_bytes(8, "little") + text
