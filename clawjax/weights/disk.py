"""Writing so that a crash leaves the old or the new, and errors that say what to do."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from clawjax.errors import StoreError

__all__ = ["disk_errors", "replace_file", "sync", "to_json", "write_synced"]


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
