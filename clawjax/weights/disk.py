"""Crash-safe writing, locks that end with their process, and errors that say what to do."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from clawjax.errors import StoreError

__all__ = ["disk_errors", "lock", "locked", "replace_file", "sync", "to_json", "write_synced"]

_LOCK_POLL_S = 0.02


def to_json(value: Mapping[str, object]) -> bytes:
    """Readable, the same for the same content."""
    return (json.dumps(value, indent=2, sort_keys=True) + "\n").encode()


def write_synced(file: Path, content: bytes) -> None:
    """Write a file that is on the disk when this returns."""
    with file.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def replace_file(file: Path, content: bytes) -> None:
    """Replace a file in one durable step: readers see all of the old or all of the new."""
    aside = file.with_name(f"{file.name}.aside")
    write_synced(aside, content)
    os.replace(aside, file)
    sync(file.parent)


def sync(directory: Path) -> None:
    """Make a rename durable."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def lock(file: IO[str], *, wait_s: float, poll_s: float) -> bool:
    """Keep other processes from locking an open file; False where one keeps it for `wait_s`.

    The lock goes when the file is closed, and so with the process, however it ends.
    """
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(poll_s)
        else:
            return True


@contextmanager
def locked(file: Path, *, wait_s: float) -> Iterator[None]:
    """Be the only process that does what the lock `file` stands for.

    Raises:
        StoreError: another process is at it for all of `wait_s`.
    """
    with file.open("w") as stream:
        if not lock(stream, wait_s=wait_s, poll_s=_LOCK_POLL_S):
            msg = (
                f"weight store at {file.parent}: another process has been writing for "
                f"{wait_s:.0f} s: try again, or stop it"
            )
            raise StoreError(msg)
        yield


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn the system's errors into `StoreError`s that name the path and the fix."""
    try:
        yield
    except OSError as error:
        msg = (
            f"weight store at {path}: {error.strerror or error}: make the path readable and "
            "writable, free some space, or choose another run.dir"
        )
        raise StoreError(msg) from error
