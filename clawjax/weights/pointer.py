"""Which version is served: `LATEST`; and every time it was moved by hand: `ROLLBACKS`.

Invariants: either file is replaced in one step, by a process that holds the lock; a rollback is
on record before the pointer moves, so that after a crash it is known which versions it left behind.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

from clawjax.errors import StoreError
from clawjax.files import replace_file
from clawjax.weights.disk import locked

__all__ = ["Pointer", "Rollback", "is_left_behind"]

_LATEST = "LATEST"
_ROLLBACKS = "ROLLBACKS"
_LOCK = ".lock"
_LOCK_TIMEOUT_S = 60.0
"""Far longer than anybody keeps it: versions are written and read without."""


class Rollback(NamedTuple):
    """One move of the pointer by hand."""

    at: float
    """Unix seconds."""
    was: int
    """The version that was served before."""
    to: int
    newest: int
    """The highest version that existed then: those above `to` were left behind."""


def is_left_behind(version: int, rollbacks: Iterable[Rollback]) -> bool:
    """Whether somebody went back to before this version, and has not come back to it since."""
    left = False
    for rollback in rollbacks:
        if version == rollback.to:
            left = False
        elif rollback.to < version <= rollback.newest:
            left = True
    return left


class Pointer:
    """The two files of one store."""

    def __init__(self, root: Path) -> None:
        """Name the directory; nothing is created."""
        self._root = root

    def read(self) -> int | None:
        """The number in `LATEST`; None where there is none, or something else."""
        try:
            name = (self._root / _LATEST).read_text(encoding="ascii").strip()
        except (FileNotFoundError, UnicodeDecodeError):
            return None
        return int(name) if name.isdecimal() else None

    def move(self, version: int) -> None:
        """Point to a version. The caller holds the lock."""
        replace_file(self._root / _LATEST, f"{version:06d}\n")

    def rollbacks(self) -> tuple[Rollback, ...]:
        """All of them, in order.

        Raises:
            StoreError: the record is damaged.
        """
        file = self._root / _ROLLBACKS
        try:
            lines = file.read_text(encoding="ascii").splitlines()
            return tuple(Rollback(**json.loads(line)) for line in lines)
        except FileNotFoundError:
            return ()
        except (ValueError, TypeError) as error:
            msg = f"{file} is no record of rollbacks ({error}): move it away, or repair the line"
            raise StoreError(msg) from error

    def record(self, rollback: Rollback) -> None:
        """Add one to the record. The caller holds the lock."""
        lines = [json.dumps(one._asdict()) for one in (*self.rollbacks(), rollback)]
        replace_file(self._root / _ROLLBACKS, "\n".join(lines) + "\n")

    def locked(self, *, wait_s: float = _LOCK_TIMEOUT_S) -> AbstractContextManager[None]:
        """Keep other processes from moving it; the lock goes with the process, however it ends.

        What it protects: that the version which a new one descends from is still the one served
        when the new one takes its place, and that what is pointed to is there.

        Raises:
            StoreError: another process keeps it for too long.
        """
        return locked(self._root / _LOCK, wait_s=wait_s)
