"""Keeps the logs of a run's processes from growing without limit.

A process writes to the file that its supervisor opened for it, and cannot be told to take another.
So a log is copied and then emptied; all writers append, and go on at the beginning. Invariant: of
what was written before, at most the lines of the moment between copying and emptying are lost.
"""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path

from clawjax.metrics.jsonl import set_aside

__all__ = ["last_lines", "limit_logs"]

logger = logging.getLogger(__name__)

_END_BYTES = 65_536
"""More than the last lines of a log that anybody wants to see."""


def limit_logs(folder: Path, max_bytes: int) -> None:
    """Set aside each log of at least so many bytes, in place of the one set aside before."""
    for path in folder.glob("*.log"):
        if path.stem.endswith(".1") or path.stat().st_size < max_bytes:
            continue
        try:
            _empty(path)
        except OSError as error:  # a full disk: the log goes on growing, and so does the run
            logger.warning("%s cannot be set aside: %s", path, error)


def last_lines(path: Path, count: int) -> str:
    """The end of a log, also where it has just been set aside."""
    lines = _end_of(path)
    if len(lines) < count and set_aside(path).exists():
        lines = _end_of(set_aside(path)) + lines
    return "\n".join(lines[-count:])


def _end_of(path: Path) -> list[str]:
    with path.open("rb") as log:
        log.seek(max(0, os.fstat(log.fileno()).st_size - _END_BYTES))
        return log.read().decode(errors="replace").splitlines()


def _empty(path: Path) -> None:
    partial = path.with_name(f"{path.name}.tmp")
    try:
        with path.open("rb") as log, partial.open("wb") as copy:
            shutil.copyfileobj(log, copy)
            os.truncate(path, 0)
        partial.replace(set_aside(path))
    finally:
        partial.unlink(missing_ok=True)
