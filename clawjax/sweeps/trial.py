"""One trial: a program in a process of its own, watched while it runs.

Owns a trial's folder: `score.json` and `metrics.jsonl` are the program's, `output.log` (what it
prints) and `process.json` (which process it is) are ours. Invariant: however a trial ends, its
process and all that it started have ended, or can be found and ended by `end_leftover`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeGuard

import psutil

from clawjax.errors import EvalError
from clawjax.metrics.jsonl import JsonlTail

__all__ = [
    "SCORE_FILE",
    "SCORE_KEY",
    "STEP_KEY",
    "TrialFailedError",
    "TrialPrunedError",
    "TrialStoppedError",
    "end_leftover",
    "read_score",
    "run_trial",
]

SCORE_FILE = "score.json"
"""`{"score": number}`, of a program that is done."""
SCORE_KEY, STEP_KEY = "evaluation/score", "evaluation/parts"
"""Of `metrics.jsonl`: the score so far, and after how many parts."""

_POLL_S = 0.1
_END_S = 20.0
_TOLD = 2000
"""Characters of what a failed program said last."""


class TrialFailedError(EvalError):
    """The program ended without a score."""


class TrialPrunedError(EvalError):
    """It was ended, because it was not worth going on."""


class TrialStoppedError(EvalError):
    """It was ended with the sweep, and may go on with it."""


def run_trial(
    command: Sequence[str],
    folder: Path,
    *,
    timeout_s: float,
    is_hopeless: Callable[[float, int], bool],
    is_stopping: Callable[[], bool],
) -> float:
    """Run `command` until it is done or not worth going on; its score.

    Args:
        command: the program; what it leaves is in `folder`.
        folder: of an earlier attempt, it is gone on with.
        timeout_s: for the whole of it.
        is_hopeless: told of each intermediate score and its step; whether to stop here.
        is_stopping: whether the sweep is being stopped.

    Raises:
        TrialPrunedError, TrialStoppedError: as they were told.
        TrialFailedError: another exit code than 0, no score, or the time is over.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SCORE_FILE).unlink(missing_ok=True)
    until = time.monotonic() + timeout_s
    scores = _Scores(folder / "metrics.jsonl")
    with (folder / "output.log").open("ab") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
        try:
            _note(folder, process.pid)
            while _is_running(process):
                for value, step in scores.read():
                    if is_hopeless(value, step) and process.poll() is None:
                        msg = f"not worth going on: {value:.4g} after {step}"
                        raise TrialPrunedError(msg)
                if is_stopping():
                    raise TrialStoppedError("the sweep was stopped")
                if time.monotonic() > until:
                    msg = f"it took over sweep.timeout_s={timeout_s:g}"
                    raise TrialFailedError(msg)
        finally:
            _end(process)
            (folder / "process.json").unlink(missing_ok=True)
    if process.returncode != 0:
        msg = f"exit code {process.returncode}: {_last_words(folder)}"
        raise TrialFailedError(msg)
    return read_score(folder)


def end_leftover(folder: Path) -> None:
    """End the process of a trial whose sweep was killed, if it still runs."""
    noted = folder / "process.json"
    if not noted.exists():
        return
    try:
        held = json.loads(noted.read_text(encoding="utf-8"))
        process = psutil.Process(held["pid"])
        if process.create_time() == held["created"]:
            _kill(held["pid"], [*_started_by(held["pid"]), process])
    except (psutil.NoSuchProcess, ValueError):
        pass  # it ended by itself, or the note was not finished
    noted.unlink(missing_ok=True)


def read_score(folder: Path) -> float:
    """What the program left as its score.

    Raises:
        TrialFailedError: nothing, or no finite number.
    """
    path = folder / SCORE_FILE
    if not path.exists():
        msg = f"it left no {SCORE_FILE}: there is no score to optimise"
        raise TrialFailedError(msg)
    left = path.read_bytes()
    try:
        score = json.loads(left)["score"]
    except (ValueError, TypeError, KeyError, RecursionError):
        score = None
    if not _is_number(score):
        msg = f"its {SCORE_FILE} has no finite number as score: {left[:_TOLD]!r}"
        raise TrialFailedError(msg)
    return float(score)


class _Scores:
    """Intermediate scores as they are written, each step once and in order."""

    def __init__(self, path: Path) -> None:
        self._tail, self._last = JsonlTail(path), 0

    def read(self) -> list[tuple[float, int]]:
        found: list[tuple[float, int]] = []
        for entry in self._tail.read():
            value, step = entry.get(SCORE_KEY), entry.get(STEP_KEY)
            if not (_is_number(value) and _is_number(step)) or int(step) <= self._last:
                continue
            self._last = int(step)
            found.append((float(value), self._last))
        return found


def _note(folder: Path, pid: int) -> None:
    try:
        created = psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:
        return
    (folder / "process.json").write_text(json.dumps({"pid": pid, "created": created}))


def _is_running(process: subprocess.Popen[bytes]) -> bool:
    try:
        process.wait(_POLL_S)
    except subprocess.TimeoutExpired:
        return True
    return False


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask it to end, then make it; what it has started and left running too."""
    started = _started_by(process.pid)
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            started += _started_by(process.pid)
            process.kill()
            process.wait()
    _kill(process.pid, started)


def _started_by(pid: int) -> list[psutil.Process]:
    """What a process that still runs has started, in sessions of their own or not."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _kill(group: int, others: Sequence[psutil.Process]) -> None:
    """Kill a process group and others, and see them end: their ports are free then."""
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
    for each in others:
        with suppress(psutil.NoSuchProcess):
            each.kill()
    until = time.monotonic() + _END_S
    while any(map(_is_alive, others)) and time.monotonic() < until:
        time.sleep(_POLL_S)


def _is_alive(process: psutil.Process) -> bool:
    """One that has ended may wait for who started it to take notice."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and abs(value) <= sys.float_info.max


def _last_words(folder: Path) -> str:
    return (folder / "output.log").read_text(encoding="utf-8", errors="replace")[-_TOLD:].strip()
