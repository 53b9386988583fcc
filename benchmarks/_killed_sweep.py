"""A sweep that is killed in the middle of a trial and goes on; what its study then holds.

Invariant: no process that was started here is left running, however the measurement ends.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, NamedTuple

import psutil
from _markdown import number, table
from _result import Goal

from clawjax.sweeps.study import MANIFEST, open_study
from clawjax.sweeps.trial import end_leftover

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

__all__ = ["PAGE", "Outcome", "goals", "kill_and_go_on", "read_trials", "trial_table", "with_table"]

_ROOT = Path(__file__).resolve().parents[1]
PAGE = _ROOT / "docs" / "sweeps.md"
_ENTRY = _ROOT / "experiments" / "sweep.py"
_TIMEOUT_S = 3600.0
"""Of each of the two halves."""
_STOP_S = 60.0
_LOOK_S = 0.05
_TOLD = 2000
_HEAD = "| trial |"

Row = dict[str, Any]


class Outcome(NamedTuple):
    """What the two halves of a sweep did."""

    seconds: float
    """Of both."""
    survivors: int
    """Processes of the first half that outlived the second."""


def kill_and_go_on(folder: Path, overrides: Sequence[str]) -> Outcome:
    """Sweep into `folder`; SIGKILL once its second trial talks to its user; the same again.

    Raises:
        RuntimeError: a half ends with an error, or the first before it could be killed.
        TimeoutError: no second trial within an hour.
        subprocess.TimeoutExpired: going on takes over an hour.
    """
    command = [sys.executable, str(_ENTRY), *overrides, f"sweep.dir={folder}"]
    second = folder / "trials" / "0001"
    began = time.monotonic()
    try:
        with _driver(command, folder / "first.log") as driver:
            _until(lambda: any(second.glob("runs/*/user.jsonl")), driver, folder / "first.log")
            orphan = _process_of(second)
            driver.send_signal(signal.SIGKILL)
        with _driver(command, folder / "second.log") as driver:
            code = driver.wait(_TIMEOUT_S)
        if code != 0:
            raise RuntimeError(f"going on ended with {code}: {_tail(folder / 'second.log')}")
        return Outcome(time.monotonic() - began, int(_is_alive(orphan)))
    finally:
        for trial in folder.glob("trials/*"):
            end_leftover(trial)


def read_trials(folder: Path) -> list[Row]:
    """One per trial of the study, in the order in which they were drawn.

    `score` is the study's. `evaluation` is the mean style score in the result files of the trial's
    own folder, which the sweep does not read.
    """
    name = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["name"]
    return [_row(trial) for trial in open_study(folder, None, name).get_trials(deepcopy=False)]


def goals(rows: Sequence[Mapping[str, Any]], asked: int, outcome: Outcome) -> list[Goal]:
    """That the study is what a sweep that nobody killed would have made."""
    done = [row for row in rows if row["state"] == "complete"]
    cut = [row for row in rows if row["state"] == "cut off"]
    again = {row["again"]: row["values"] for row in done if row["again"] is not None}
    lost = [row for row in cut if again.get(row["trial"]) != row["values"]]
    different = {json.dumps(row["values"], sort_keys=True) for row in done}
    strange = [row for row in done if row["score"] != row["evaluation"]]
    scores = [row["score"] for row in done]
    evaluations = [row["evaluation"] for row in done if row["evaluation"] is not None]
    behind = max(evaluations) - max(scores) if scores and evaluations else None
    return [
        Goal("trials with a score, of those asked for", "==", 1.0, len(done) / asked, "share"),
        Goal("trials that were cut off", ">=", 1.0, float(len(cut)), "trials"),
        Goal("cut off and not done again with its values", "==", 0.0, float(len(lost)), "trials"),
        Goal("done twice", "==", 0.0, float(len(done) - len(different)), "trials"),
        Goal("scores that are not the evaluation's", "==", 0.0, float(len(strange)), "trials"),
        Goal("best evaluation less the best trial's score", "==", 0.0, behind, "score"),
        Goal("trials that outlive the sweep", "==", 0.0, float(outcome.survivors), "processes"),
    ]


def trial_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """All trials, as in the docs."""
    keys = list(dict.fromkeys(key for row in rows for key in row["values"]))
    head = ["trial", *keys, "score", "state", "seconds"]
    return table(head, [_cells(row, keys) for row in rows])


def with_table(page: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """The page with its table of trials replaced.

    Raises:
        ValueError: it has none.
    """
    lines = page.split("\n")
    starts = [index for index, line in enumerate(lines) if line.startswith(_HEAD)]
    if len(starts) != 1:
        msg = f"{len(starts)} tables of the page begin with {_HEAD!r}: there has to be one"
        raise ValueError(msg)
    end = starts[0]
    while end < len(lines) and lines[end].startswith("|"):
        end += 1
    return "\n".join([*lines[: starts[0]], trial_table(rows), *lines[end:]])


def _cells(row: Mapping[str, Any], keys: Sequence[str]) -> list[str]:
    state = row["state"]
    if row["again"] is not None:
        state = f"{state}, trial {row['again']} again"
    given = [_value(row["values"].get(key, "")) for key in keys]
    return [
        str(row["trial"]),
        *given,
        number(row["score"], ".3f"),
        state,
        number(row["seconds"], ".0f"),
    ]


def _value(given: float | str) -> str:
    return f"{given:.2g}" if isinstance(given, float) else str(given)


def _row(trial: FrozenTrial) -> Row:
    attributes = trial.user_attrs
    seconds = None if trial.duration is None else round(trial.duration.total_seconds(), 1)
    is_done = trial.state.name == "COMPLETE"
    return {
        "trial": trial.number,
        "values": dict(trial.params),
        "score": trial.value,
        "evaluation": _evaluation(Path(attributes["folder"])) if is_done else None,
        "state": "cut off" if attributes.get("interrupted") else trial.state.name.lower(),
        "again": attributes.get("retry_of"),
        "seconds": seconds,
    }


def _evaluation(folder: Path) -> float | None:
    results = [json.loads(file.read_text()) for file in sorted(folder.glob("trials/*.json"))]
    scores = [result["style"]["style_score"] for result in results]
    return fmean(scores) if scores else None


@contextmanager
def _driver(command: Sequence[str], said: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The sweep, which has ended afterwards."""
    with said.open("wb") as output:
        driver = subprocess.Popen(command, stdout=output, stderr=output)
        try:
            yield driver
        finally:
            _end(driver)


def _until(is_ready: Callable[[], bool], driver: subprocess.Popen[bytes], said: Path) -> None:
    until = time.monotonic() + _TIMEOUT_S
    while not is_ready():
        if driver.poll() is not None:
            raise RuntimeError(f"the sweep ended before it could be killed: {_tail(said)}")
        if time.monotonic() > until:
            raise TimeoutError(f"no second trial within {_TIMEOUT_S:.0f} s: {_tail(said)}")
        time.sleep(_LOOK_S)


def _process_of(trial: Path) -> psutil.Process:
    noted = json.loads((trial / "process.json").read_text(encoding="utf-8"))
    return psutil.Process(noted["pid"])


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _end(driver: subprocess.Popen[bytes]) -> None:
    """Ask it to end, then make it."""
    if driver.poll() is None:
        driver.terminate()
    try:
        driver.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        driver.kill()
        driver.wait(_STOP_S)


def _tail(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")[-_TOLD:].strip()
