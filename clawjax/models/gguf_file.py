"""The GGUF container: metadata and tensors of one file, nothing about models.

The header is read here rather than with `gguf.GGUFReader`, which wraps every one of a vocabulary's
strings in an array and takes seconds where this takes a fraction of one; numbers are dequantised
by the `gguf` package. Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import math
import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clawjax.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    from gguf import GGMLQuantizationType

__all__ = ["GgufFile", "GgufTensor"]

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_SCALARS = {
    0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i",
    6: "f", 7: "?", 10: "Q", 11: "q", 12: "d",
}  # fmt: skip
"""`struct` codes of the metadata's value types; 8 is a string, 9 an array."""
_STRING, _ARRAY = 8, 9
_DEFAULT_ALIGNMENT = 32


@dataclass(frozen=True, slots=True)
class GgufTensor:
    """Where a tensor lies."""

    shape: tuple[int, ...]
    """Slowest axis first, as numpy has it."""
    type_id: int
    """A `gguf.GGMLQuantizationType`."""
    offset: int
    """Bytes from the beginning of the file."""


class GgufFile:
    """A parsed header; tensors are read and dequantised on request."""

    def __init__(self, path: Path) -> None:
        """Read the header.

        Raises:
            ConfigError: missing, not a GGUF file, of an unknown version, or cut short.
        """
        self.path = path
        try:
            with path.open("rb") as file, _map(file.fileno(), path) as buffer:
                self.metadata, self.tensors = _parse(buffer, path)
        except OSError as error:
            msg = f"{path} cannot be read ({error.strerror}): check model.path"
            raise ConfigError(msg) from error
        except (struct.error, UnicodeDecodeError) as error:
            msg = f"{path} has a damaged header ({error}): download it again"
            raise ConfigError(msg) from error

    def tensor(self, name: str) -> GgufTensor:
        """What the header says of a tensor.

        Raises:
            ConfigError: there is none of that name.
        """
        tensor = self.tensors.get(name)
        if tensor is None:
            msg = f"{self.path} has no tensor {name!r}: it is incomplete or of another model"
            raise ConfigError(msg)
        return tensor

    def read(self, name: str) -> np.ndarray:
        """One tensor as fp32, in numpy's order of axes.

        Raises:
            ConfigError: no such tensor, an unsupported quantisation, or the file is cut short.
        """
        import numpy as np
        from gguf import quants

        tensor = self.tensor(name)
        kind, stored_shape = self._storage(name, tensor)
        size = math.prod(stored_shape)
        if tensor.offset + size > self.path.stat().st_size:
            msg = f"{self.path} ends within tensor {name!r}: download it again"
            raise ConfigError(msg)
        stored = np.fromfile(self.path, np.uint8, size, offset=tensor.offset)
        try:
            return quants.dequantize(stored.reshape(stored_shape), kind).reshape(tensor.shape)
        except NotImplementedError as error:
            raise ConfigError(self._unsupported(name, kind.name)) from error

    def _storage(
        self, name: str, tensor: GgufTensor
    ) -> tuple[GGMLQuantizationType, tuple[int, ...]]:
        """Quantisation, and shape in bytes."""
        from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

        try:
            kind = GGMLQuantizationType(tensor.type_id)
        except ValueError as error:
            raise ConfigError(self._unsupported(name, f"type {tensor.type_id}")) from error
        block, block_bytes = GGML_QUANT_SIZES[kind]
        *rows, columns = tensor.shape
        return kind, (*rows, columns // block * block_bytes)

    def _unsupported(self, name: str, kind: str) -> str:
        return (
            f"{self.path}: tensor {name!r} is stored as {kind}, which cannot be read: "
            "use F32, F16, BF16, Q8_0, Q4_0, Q4_1 or a K-quant"
        )


class _Reader:
    """A position in the header."""

    def __init__(self, buffer: mmap.mmap, position: int) -> None:
        self._buffer = buffer
        self.position = position

    def scalars(self, codes: str) -> tuple[Any, ...]:
        values = struct.unpack_from(f"<{codes}", self._buffer, self.position)
        self.position += struct.calcsize(f"<{codes}")
        return values

    def text(self) -> str:
        (size,) = self.scalars("Q")
        end = self.position + size
        if end > len(self._buffer):
            msg = f"a string of {size} bytes runs over the end of the file"
            raise struct.error(msg)
        text = self._buffer[self.position : end].decode()
        self.position = end
        return text

    def value(self, type_id: int) -> Any:
        if type_id == _STRING:
            return self.text()
        if type_id == _ARRAY:
            return self._array(*self.scalars("IQ"))
        if type_id not in _SCALARS:
            msg = f"a value has the unknown type {type_id}"
            raise struct.error(msg)
        return self.scalars(_SCALARS[type_id])[0]

    def _array(self, type_id: int, count: int) -> list[Any]:
        if count > len(self._buffer):
            msg = f"an array of {count} values runs over the end of the file"
            raise struct.error(msg)
        if type_id in _SCALARS:
            return list(self.scalars(f"{count}{_SCALARS[type_id]}"))
        return [self.value(type_id) for _ in range(count)]


def _map(descriptor: int, path: Path) -> mmap.mmap:
    try:
        return mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
    except ValueError as error:
        msg = f"{path} is empty: download it again"
        raise ConfigError(msg) from error


def _parse(buffer: mmap.mmap, path: Path) -> tuple[dict[str, Any], dict[str, GgufTensor]]:
    if buffer[:4] != _MAGIC:
        msg = f"{path} is not a GGUF file (it begins with {buffer[:4]!r}): check model.path"
        raise ConfigError(msg)
    reader = _Reader(buffer, position=len(_MAGIC))
    version, tensor_count, key_count = reader.scalars("IQQ")
    if version not in _VERSIONS:
        msg = f"{path} is of GGUF version {version}: only versions 2 and 3 can be read"
        raise ConfigError(msg)
    metadata: dict[str, Any] = {}
    for _ in range(key_count):
        key = reader.text()
        metadata[key] = reader.value(*reader.scalars("I"))
    located = [_tensor(reader) for _ in range(tensor_count)]
    alignment = metadata.get("general.alignment", _DEFAULT_ALIGNMENT)
    start = -(-reader.position // alignment) * alignment
    return metadata, {
        name: GgufTensor(shape, type_id, start + offset) for name, shape, type_id, offset in located
    }


def _tensor(reader: _Reader) -> tuple[str, tuple[int, ...], int, int]:
    name = reader.text()
    (rank,) = reader.scalars("I")
    shape = reader.scalars(f"{rank}Q")[::-1]
    type_id, offset = reader.scalars("IQ")
    return name, shape, type_id, offset
