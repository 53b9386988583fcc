"""What every contestant measures about itself, alike. Standard library only."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from typing import TypeVar

__all__ = ["peak_bytes", "timed"]

_Result = TypeVar("_Result")


def timed(call: Callable[[], _Result]) -> tuple[_Result, float]:
    """The result of a call that returns when all is done, and its seconds."""
    started = time.perf_counter()
    result = call()
    return result, time.perf_counter() - started


def peak_bytes() -> dict[str, int]:
    """The most memory that this process ever held (Linux counts in KiB, macOS in bytes)."""
    unit = 1 if sys.platform == "darwin" else 1024
    return {"peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit}
