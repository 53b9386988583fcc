"""What came of a sweep, read from its folder: an Optuna study, or a Hydra multirun.

Invariant: a trial without a score has None, and why.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import yaml

from clawjax.errors import ConfigError
from clawjax.sweeps.space import assignments
from clawjax.sweeps.study import MANIFEST, open_study
from clawjax.sweeps.trial import SCORE_FILE, TrialFailedError, read_score

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

__all__ = ["Row", "SweepRecord", "best", "command_line", "read_sweep"]


class Row(NamedTuple):
    """One trial."""

    name: str
    values: Mapping[str, str]
    """What was tried, by key, as on a command line."""
    score: float | None
    state: str
    """`complete`, `pruned`, `running`, `waiting`, or why there is no score."""
    seconds: float | None


class SweepRecord(NamedTuple):
    """All of them."""

    program: str
    fixed: tuple[str, ...]
    """Overrides of every trial."""
    is_minimised: bool
    rows: tuple[Row, ...]


def read_sweep(folder: Path, *, is_minimised: bool = False) -> SweepRecord:
    """Read either kind.

    Args:
        folder: of the sweep.
        is_minimised: whether a lower score is better; an Optuna study knows by itself.

    Raises:
        ConfigError: it holds no sweep.
    """
    if (folder / MANIFEST).exists():
        return _study(folder)
    jobs = sorted(folder.glob("*/.hydra/overrides.yaml"), key=_number)
    if not jobs:
        msg = f"{folder} holds no sweep: neither {MANIFEST} nor the folders of a multirun"
        raise ConfigError(msg)
    return _multirun([path.parents[1] for path in jobs], is_minimised)


def best(record: SweepRecord) -> Row | None:
    """The row with the best score of those that were not pruned; None where there is none."""
    complete = [row for row in record.rows if row.score is not None and row.state == "complete"]
    sign = -1 if record.is_minimised else 1
    return max(complete, key=lambda row: sign * (row.score or 0.0), default=None)


def command_line(record: SweepRecord, row: Row) -> str:
    """What repeats one trial."""
    return shlex.join(["python", record.program, *record.fixed, *assignments(row.values)])


def _study(folder: Path) -> SweepRecord:
    held = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    trials = open_study(folder, held["storage"], held["name"]).get_trials(deepcopy=False)
    retried = {trial.user_attrs.get("retry_of") for trial in trials}
    return SweepRecord(
        program=held["entry"],
        fixed=tuple(held["fixed"]),
        is_minimised=held["is_minimised"],
        rows=tuple(_trial(trial, is_retried=trial.number in retried) for trial in trials),
    )


def _trial(trial: FrozenTrial, *, is_retried: bool) -> Row:
    state = trial.state.name.lower()
    if trial.user_attrs.get("interrupted"):
        cut_off = "cut off, tried again" if is_retried else "cut off"
        state = cut_off if state == "fail" else state
    elif "error" in trial.user_attrs:
        state = str(trial.user_attrs["error"])
    seconds = None if trial.duration is None else trial.duration.total_seconds()
    values = {key: str(value) for key, value in trial.params.items()}
    return Row(str(trial.number), values, trial.value, state, seconds)


def _multirun(folders: Sequence[Path], is_minimised: bool) -> SweepRecord:
    given = [_overrides(folder) for folder in folders]
    keys = dict.fromkeys(key for each in given for key in each)
    varied = [key for key in keys if len({each.get(key) for each in given}) > 1]
    fixed = [f"{key}={given[0][key]}" for key in keys if key not in varied]
    hydra = yaml.safe_load((folders[0] / ".hydra" / "hydra.yaml").read_text(encoding="utf-8"))
    rows = [
        _job(folder, {key: each[key] for key in varied if key in each})
        for folder, each in zip(folders, given, strict=True)
    ]
    program = f"experiments/{hydra['hydra']['job']['name']}.py"
    return SweepRecord(program, tuple(fixed), is_minimised, tuple(rows))


def _job(folder: Path, values: Mapping[str, str]) -> Row:
    try:
        score = read_score(folder)
    except TrialFailedError as failed:
        return Row(folder.name, values, None, str(failed), None)
    ended, began = folder / SCORE_FILE, folder / ".hydra" / "overrides.yaml"
    seconds = ended.stat().st_mtime - began.stat().st_mtime
    if seconds < 0:
        stale = f"its {SCORE_FILE} is older than its overrides: an earlier job left it"
        return Row(folder.name, values, None, stale, None)
    return Row(folder.name, values, score, "complete", seconds)


def _overrides(folder: Path) -> dict[str, str]:
    listed = yaml.safe_load((folder / ".hydra" / "overrides.yaml").read_text(encoding="utf-8"))
    return {key: value for key, _, value in (each.partition("=") for each in listed)}


def _number(path: Path) -> tuple[int, str]:
    name = path.parents[1].name
    return (int(name) if name.isdigit() else -1, name)
