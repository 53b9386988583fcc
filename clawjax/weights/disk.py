"""A store that one process writes at a time, and errors that say what to do."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from clawjax.errors import StoreError
from clawjax.files import lock

__all__ = ["disk_errors", "locked", "to_json"]

_LOCK_POLL_S = 0.02


def to_json(value: Mapping[str, object]) -> bytes:
    """Readable, the same for the same content."""
    return (json.dumps(value, indent=2, sort_keys=True) + "\n").encode()


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
