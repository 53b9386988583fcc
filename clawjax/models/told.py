"""What one process of a learner tells the others, as bytes.

Pickled, as anything may be told that a log or a store returns; read so that a message makes values
and runs nothing. Invariant: reading calls no function and makes no object but plain values, paths,
records, enumeration members and exceptions.
"""

from __future__ import annotations

import dataclasses
import io
import pickle
from enum import Enum
from pathlib import PurePath
from typing import Any

__all__ = ["packed", "unpacked"]

_PLAIN = (bool, int, float, complex, str, bytes, bytearray, list, dict, tuple, set, frozenset)
_PACKAGE = "clawjax"


def packed(value: Any) -> bytes:
    """The value as a message.

    Raises:
        Exception: whatever its parts raise; it cannot be told then.
    """
    return pickle.dumps(value)


def unpacked(message: bytes) -> Any:
    """What was packed.

    Raises:
        pickle.UnpicklingError: it has more than values.
    """
    return _Reader(io.BytesIO(message)).load()


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        found = super().find_class(module, name)
        if not _is_value(found):
            msg = f"{module}.{name} is no kind of value that processes tell one another"
            raise pickle.UnpicklingError(msg)
        return found


def _is_value(found: object) -> bool:
    if not isinstance(found, type):
        return False
    if found in _PLAIN or issubclass(found, PurePath):
        return True
    is_ours = found.__module__.partition(".")[0] == _PACKAGE
    if issubclass(found, Exception):
        return is_ours or found.__module__ == "builtins"
    return is_ours and (dataclasses.is_dataclass(found) or issubclass(found, tuple | Enum))
