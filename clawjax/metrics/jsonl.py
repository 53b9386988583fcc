"""JSON lines that survive: appended with one write each, by any number of processes.

Owns the format of `metrics.jsonl` and of every other file of JSON lines. Invariants: a line is
never rewritten, and a line that a crash tore apart costs that line only; where a file has a limit
the whole of it is set aside (`set_aside`), in place of what was there, and a new one begun.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from clawjax.metrics.keys import unknown_keys

__all__ = [
    "JsonlAppender",
    "JsonlMonitor",
    "JsonlTail",
    "newest_with",
    "read_jsonl",
    "set_aside",
    "tail_jsonl",
]

logger = logging.getLogger(__name__)

_DIGITS = 16
"""Of a digest that is kept."""


class JsonlAppender:
    """Appends JSON objects to a file. Safe from several processes: `O_APPEND`, one write a line."""

    def __init__(self, path: Path, *, max_bytes: int | None = None) -> None:
        """Open for appending, on a fresh line even where the last writer died in mid-line.

        Args:
            path: of the file; where another process sets it aside, this one goes on in the new one.
            max_bytes: set the file aside once it has so many; None leaves that to others.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._max_bytes = max_bytes
        self._fd: int | None = _opened(path)
        size = os.fstat(self._fd).st_size
        self._is_torn = size > 0 and os.pread(self._fd, 1, size - 1) != b"\n"
        if self._is_torn:
            with contextlib.suppress(OSError):  # the disk is full: the next line begins with it
                self._is_torn = os.write(self._fd, b"\n") == 0

    def append(self, entry: Mapping[str, Any]) -> None:
        """Write one line; it is in the file when this returns.

        Raises:
            OSError: the disk refuses; what is written next is on a line of its own.
        """
        if self._fd is None:
            msg = "this file of JSON lines is closed"
            raise ValueError(msg)
        self._follow(self._fd)
        line = (json.dumps(entry, allow_nan=False) + "\n").encode()
        if self._is_torn:
            line = b"\n" + line
        self._is_torn = os.write(self._fd, line) < len(line)
        if self._is_torn:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _follow(self, fd: int) -> None:
        """Write to the file that has the name, once this one was set aside."""
        own = os.fstat(fd)
        if self._max_bytes is not None and own.st_size >= self._max_bytes:
            if not _moved_aside(fd, self._path):
                return  # what is written meanwhile still belongs to it
        elif _inode(self._path) in (None, own.st_ino):
            return
        renewed = _opened(self._path)
        os.close(fd)
        self._fd, self._is_torn = renewed, False


class JsonlMonitor:
    """`protocols.Monitor` over `metrics.jsonl`: `{"t": ..., "step": ..., "source": ..., ...}`.

    A value that is not finite is written as null and its key named under `non_finite`: JSON has no
    NaN, and it must not pass for a missing value.
    """

    def __init__(
        self,
        path: Path,
        *,
        source: str = "learner",
        clock: Callable[[], float] = time.time,
        max_bytes: int | None = None,
    ) -> None:
        """Append to `path`; `source` tells the writing process, `max_bytes` is the file's limit."""
        self._appender = JsonlAppender(path, max_bytes=max_bytes)
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


class JsonlTail:
    """Follows a file of JSON lines as it grows, and past its being set aside."""

    def __init__(self, path: Path, *, offset: int = 0, file: int | None = None) -> None:
        """Begin with all that is left, or where another tail ended: at its `offset` of `file`."""
        self._path = path
        self.offset = offset
        self.file = _inode(path) if file is None and offset else file
        """Its inode; None before anything was read."""

    @classmethod
    def at(cls, path: Path, mark: Mapping[str, Any]) -> JsonlTail:
        """Go on where another tail was that left this `mark`.

        A file is known by its first line, so that one that was moved or copied is gone on with.
        Where none has that line any more, all that is left is new.
        """
        offset, first = int(mark.get("offset", 0)), mark.get("first")
        if first is None:  # nothing was read, or by an earlier version
            return cls(path, offset=offset, file=mark.get("file"))
        for part in (path, set_aside(path)):
            if _first(part) == first:
                return cls(path, offset=offset, file=_inode(part))
        return cls(path)

    def mark(self) -> dict[str, Any]:
        """Where it is, as JSON has it."""
        parts = (self._path, set_aside(self._path))
        read = next((part for part in parts if _inode(part) == self.file is not None), None)
        first = None if read is None else _first(read)
        return {"offset": self.offset, "file": self.file, "first": first}

    def read(self) -> Iterator[dict[str, Any]]:
        """Entries not seen yet: the rest of a file that was set aside, then the new one's."""
        current, aside = _inode(self._path), set_aside(self._path)
        if current is None:
            return
        if self.file != current:
            if self.file in (None, _inode(aside)):
                yield from self._rest(aside)
            self.offset = 0
        self.file = current
        yield from self._rest(self._path)

    def _rest(self, path: Path) -> Iterator[dict[str, Any]]:
        for entry, offset in tail_jsonl(path, self.offset):
            self.offset = offset
            yield entry


def set_aside(path: Path) -> Path:
    """Where a file is that got too large: `metrics.1.jsonl`, `serve.1.log`."""
    return path.with_name(f"{path.stem}.1{path.suffix}")


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """All whole entries that are left, in order, of what was set aside first; none without file."""
    return [entry for part in (set_aside(path), path) for entry, _ in tail_jsonl(part, 0)]


def newest_with(path: Path, *keys: str) -> dict[str, Any] | None:
    """The newest whole entry that has one of the keys, also of what was set aside; None without."""
    spelt = [json.dumps(key).encode() for key in keys]
    for part in (path, set_aside(path)):
        newest: dict[str, Any] | None = None
        for line in _lines_with(part, spelt):
            entry = _parse(line, part)
            if entry is not None and any(key in entry for key in keys):
                newest = entry
        if newest is not None:
            return newest
    return None


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


def _lines_with(path: Path, words: Sequence[bytes]) -> Iterator[bytes]:
    """Whole lines that have one of the words in them."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n") and any(word in line for word in words):
                yield line


def _opened(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)


def _moved_aside(fd: int, path: Path) -> bool:
    """Of several writers one sets the file aside. False: another is at it, and may be stopped."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    try:
        if _inode(path) == os.fstat(fd).st_ino:
            path.replace(set_aside(path))
    finally:
        fcntl.flock(fd, fcntl.LOCK_UN)
    return True


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None


def _first(path: Path) -> str | None:
    """Digest of the first line, which has the time; None without file or line."""
    if not path.exists():
        return None
    with path.open("rb") as file:
        line = file.readline()
    return hashlib.sha256(line).hexdigest()[:_DIGITS] if line.endswith(b"\n") else None


def _parse(line: bytes, path: Path) -> dict[str, Any] | None:
    if not line.strip():
        return None
    try:
        entry = json.loads(line)
    except ValueError:
        logger.warning("%s holds a torn line of %d bytes: skipped", path, len(line))
        return None
    return entry if isinstance(entry, dict) else None
