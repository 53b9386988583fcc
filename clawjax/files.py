"""Files that are whole whenever they are read, and locks that end with their process."""

from __future__ import annotations

import fcntl
import os
import re
import threading
import time
from functools import partial
from pathlib import Path
from typing import IO

__all__ = ["lock", "replace_file", "sweep", "sync", "write_synced"]

_LONGEST_WRITE_S = 3600.0
_ASIDE = re.compile(r".+\.\d+\.aside")


def replace_file(
    file: Path, content: bytes | str, *, mode: int = 0o666, durably: bool = True
) -> None:
    """Replace a file in one step: readers see all of the old or all of the new.

    Args:
        file: in a directory that exists.
        content: text is written as UTF-8.
        mode: permissions, less the umask.
        durably: whether it is on the disk when this returns. Notes that are written again
            soon need not be; a power cut may then leave an empty file.

    Raises:
        OSError: the disk refuses; the old file is still there.
    """
    aside = file.with_name(f"{file.name}.{threading.get_native_id()}.aside")
    aside.unlink(missing_ok=True)  # of a process that died
    try:
        with open(aside, "xb", opener=partial(os.open, mode=mode)) as stream:
            stream.write(content.encode() if isinstance(content, str) else content)
            if durably:
                stream.flush()
                os.fsync(stream.fileno())
        os.replace(aside, file)
    finally:
        aside.unlink(missing_ok=True)  # there only where that failed
    if durably:
        sync(file.parent)


def sweep(*directories: Path) -> list[Path]:
    """Remove what `replace_file` left aside in processes that were killed; returns what that was.

    Raises:
        OSError: it cannot be removed.
    """
    before = time.time() - _LONGEST_WRITE_S  # a younger one may be under way
    found = [file for directory in directories for file in directory.glob("*.aside")]
    old = [file for file in found if _ASIDE.fullmatch(file.name) and _changed_at(file) < before]
    for file in old:
        file.unlink(missing_ok=True)
    return old


def _changed_at(file: Path) -> float:
    """In seconds since 1970; of a file that has gone meanwhile, now."""
    try:
        return file.stat().st_mtime
    except FileNotFoundError:
        return time.time()


def write_synced(file: Path, content: bytes) -> None:
    """Write a file that is on the disk when this returns."""
    with file.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


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
