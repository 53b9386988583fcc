"""JSON lines that survive: appended with one write each, by any number of processes.

Owns the format of `metrics.jsonl` and of every other file of JSON lines. Invariant: a line is
never rewritten, and a line that a crash tore apart costs that line only.
"""

from __future__ import annotations

import errno
import json
import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from clawjax.metrics.keys import unknown_keys

__all__ = ["JsonlAppender", "JsonlMonitor", "read_jsonl", "tail_jsonl"]

logger = logging.getLogger(__name__)


class JsonlAppender:
    """Appends JSON objects to a file. Safe from several processes: `O_APPEND`, one write a line."""

    def __init__(self, path: Path) -> None:
        """Open for appending, on a fresh line even where the last writer died in mid-line."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._fd: int | None = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        self._is_torn = False
        size = os.fstat(self._fd).st_size
        if size and os.pread(self._fd, 1, size - 1) != b"\n":
            os.write(self._fd, b"\n")

    def append(self, entry: Mapping[str, Any]) -> None:
        """Write one line; it is in the file when this returns.

        Raises:
            OSError: the disk refuses; what is written next is on a line of its own.
        """
        if self._fd is None:
            msg = "this file of JSON lines is closed"
            raise ValueError(msg)
        line = (json.dumps(entry, allow_nan=False) + "\n").encode()
        written = os.write(self._fd, b"\n" + line if self._is_torn else line)
        self._is_torn = written < len(line)
        if self._is_torn:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


class JsonlMonitor:
    """`protocols.Monitor` over `metrics.jsonl`: `{"t": ..., "step": ..., "source": ..., ...}`.

    A value that is not finite is written as null and its key named under `non_finite`: JSON has no
    NaN, and it must not pass for a missing value.
    """

    def __init__(
        self, path: Path, *, source: str = "learner", clock: Callable[[], float] = time.time
    ) -> None:
        """Append to `path`; `source` tells the writing process."""
        self._appender = JsonlAppender(path)
        self._source = source
        self._clock = clock
        self._warned: set[str] = set()
        self._is_writable = True

    def log(
        self,
        metrics: Mapping[str, float],
        *,
        step: int | None = None,
        texts: Mapping[str, str] | None = None,
    ) -> None:
        """Record slash-path keys. A key missing from `metrics.keys` is recorded, with a warning."""
        texts = texts or {}
        for key in unknown_keys([*metrics, *texts]):
            if key not in self._warned:
                self._warned.add(key)
                logger.warning("metric %r is not in the table of clawjax.metrics.keys", key)
        values = {key: float(value) for key, value in metrics.items()}
        broken = [key for key, value in values.items() if not math.isfinite(value)]
        entry: dict[str, Any] = {"t": self._clock(), "step": step, "source": self._source}
        entry |= {key: None if key in broken else value for key, value in values.items()}
        entry |= texts
        if broken:
            entry["non_finite"] = broken
        self._write(entry)

    def close(self) -> None:
        """Close the file."""
        self._appender.close()

    def _write(self, entry: Mapping[str, Any]) -> None:
        """Metrics stop no loop: where the disk takes nothing they are lost, with one warning."""
        try:
            self._appender.append(entry)
        except OSError as error:
            if self._is_writable:
                logger.warning("metrics are lost until they can be written again: %s", error)
            self._is_writable = False
        else:
            self._is_writable = True


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """All whole entries, in order; a missing file has none."""
    return [entry for entry, _ in tail_jsonl(path, 0)]


def tail_jsonl(path: Path, offset: int) -> Iterator[tuple[dict[str, Any], int]]:
    """Entries from byte `offset` on, each with the offset after it.

    A last line without its newline is left for the next call; a torn line is skipped and logged.
    """
    if not path.exists():
        return
    with path.open("rb") as file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                return
            offset += len(line)
            entry = _parse(line, path)
            if entry is not None:
                yield entry, offset


def _parse(line: bytes, path: Path) -> dict[str, Any] | None:
    if not line.strip():
        return None
    try:
        entry = json.loads(line)
    except ValueError:
        logger.warning("%s holds a torn line of %d bytes: skipped", path, len(line))
        return None
    return entry if isinstance(entry, dict) else None
