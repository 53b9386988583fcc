"""What grows with use: memory, files, sessions, compiled programs. Pure but for the sampling."""

from __future__ import annotations

import os
import re
import stat
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil
from prometheus_client.parser import text_string_to_metric_families

__all__ = [
    "Look",
    "compiled",
    "peak_ratio",
    "sampled",
    "session_counts",
    "slope",
    "told",
    "wait_until",
    "watched",
]

_COMPILING = re.compile(r" jax\._src\.interpreters\.pxla: Compiling \S+ with ")
"""What jax says with JAX_LOG_COMPILES, once for each program in the form of our own logs."""
_EVERY_S = 1.0
MIB = 2**20


class Look(NamedTuple):
    """One look at everything; sizes in MiB."""

    turns: int
    """Said so far."""
    rss: dict[str, float]
    """By process."""
    log_mib: float
    """Of the turn log's files."""
    weights_mib: float
    versions: int
    """In the weight store."""
    told_mib: float = 0.0
    """Of metrics and logs, those set aside included."""
    folder_mib: float = 0.0
    """Of everything in the run's folder."""
    sessions: int = 0
    """In the gateway's memory."""


def slope(looks: Sequence[Look], process: str) -> float:
    """MiB of memory per 1,000 turns: least squares, which knows no favourite moment.

    Raises:
        ValueError: fewer than two looks at different numbers of turns.
    """
    turns = [look.turns / 1000 for look in looks]
    if len(set(turns)) < 2:
        msg = f"{len(looks)} looks at the same number of turns: a slope needs two"
        raise ValueError(msg)
    return float(np.polyfit(turns, [look.rss[process] for look in looks], 1)[0])


def peak_ratio(values: Sequence[float]) -> float:
    """The peak of the second half over that of the first: 1 where something is bounded.

    Raises:
        ValueError: fewer than two values.
    """
    if len(values) < 2:
        msg = f"{len(values)} values: two halves need two"
        raise ValueError(msg)
    middle = len(values) // 2
    return max(values[middle:]) / max(values[:middle])


def compiled(lines: Iterable[str]) -> list[str]:
    """The lines of a process's log that say that a program was compiled."""
    return [line for line in lines if _COMPILING.search(line)]


def sampled(folder: Path, pids: Mapping[str, int], turns: int, sessions: int = 0) -> Look:
    """Look at a run's folder and its processes; how much was said, others have counted."""
    versions = [path for path in (folder / "weights").glob("[0-9]*") if path.is_dir()]
    return Look(
        turns=turns,
        rss={name: psutil.Process(pid).memory_info().rss / MIB for name, pid in pids.items()},
        log_mib=_size(folder.glob("turns.db*")),
        weights_mib=_size(
            file for file in _below(folder / "weights") if file.suffix == ".safetensors"
        ),
        versions=len(versions),
        told_mib=_size(told(folder)),
        folder_mib=_size(_below(folder)),
        sessions=sessions,
    )


def told(folder: Path) -> list[Path]:
    """The files in which a run's processes say how they are: metrics and logs."""
    return [*folder.glob("metrics*.jsonl"), *(folder / "logs").glob("*.log")]


def session_counts(metrics: str) -> dict[str, int]:
    """Sessions in a gateway's memory by state, from what `/metrics` says.

    Raises:
        ValueError: it says nothing of them.
    """
    found = {
        sample.labels["state"]: int(sample.value)
        for family in text_string_to_metric_families(metrics)
        for sample in family.samples
        if sample.name == "clawjax_sessions"
    }
    if not found:
        msg = "/metrics has no clawjax_sessions: is it clawjax's?"
        raise ValueError(msg)
    return found


@contextmanager
def watched(look: Callable[[], Look]) -> Generator[list[Look]]:
    """Looks, one a second, as long as the context lasts.

    Raises:
        Exception: what went wrong while looking, at the end.
    """
    looks: list[Look] = []
    errors: list[Exception] = []
    stop = threading.Event()

    def keep_looking() -> None:
        while not stop.wait(_EVERY_S):
            try:
                looks.append(look())
            except Exception as error:  # told where somebody can hear it
                errors.append(error)
                return

    thread = threading.Thread(target=keep_looking)
    thread.start()
    try:
        yield looks
    finally:
        stop.set()
        thread.join()
    if errors:
        raise errors[0]


def _below(folder: Path) -> Iterator[Path]:
    """Files at any depth; folders that go while they are looked through have none."""

    def must_be_gone(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            raise error

    for parent, _, names in os.walk(folder, onerror=must_be_gone):
        yield from (Path(parent, name) for name in names)


def _size(files: Iterable[Path]) -> float:
    """MiB; files that go while they are counted are not there."""
    total = 0
    for file in files:
        try:
            found = file.stat()
            total += found.st_size if stat.S_ISREG(found.st_mode) else 0
        except FileNotFoundError:
            continue
    return total / MIB


def wait_until(holds: Callable[[], bool], timeout_s: float) -> bool:
    """Whether it came true in time."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True
