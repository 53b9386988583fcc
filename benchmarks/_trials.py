"""Trials that are kept as files: measured once, by one process, and only with the same settings.

Several processes may share a run's folder: each trial has a lock of its own. A file is whole or not
there, and says by which settings and at which commit it was measured.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from clawjax.config import EpisodesConfig, RunConfig
from clawjax.config.additions import drop_unset_additions
from clawjax.errors import ConfigError
from clawjax.files import lock
from clawjax.runtime.paths import write_json
from clawjax.runtime.provenance import git_sha

__all__ = [
    "LEARNING",
    "begun_anew",
    "command_line",
    "digest",
    "kept",
    "parsed_arms",
    "parser",
    "seeds_of",
    "settings_of",
]

LEARNING = ("learner", "objective", "reward")
"""Groups that decide nothing where nothing is learnt."""
_WAIT_S, _POLL_S = 2 * 3600.0, 1.0
"""For another process that measures the same trial; none takes nearly as long."""


def parser(description: str | None) -> argparse.ArgumentParser:
    """The options of every benchmark of kept trials; `seeds_of` says what no `--seeds` means."""
    found = argparse.ArgumentParser(description=description)
    found.add_argument("--quick", action="store_true")
    found.add_argument("--run-name", default=None)
    found.add_argument(
        "--seeds", type=lambda text: [int(seed) for seed in text.split(",")], default=None
    )
    found.add_argument(
        "--measure-only",
        action="store_true",
        help="keep the trials that were chosen and write no result: for several processes, each "
        "with a share; the command without it gathers them",
    )
    return found


def seeds_of(options: argparse.Namespace) -> list[int]:
    """Those that were asked for, three in full, or one that shows that it works."""
    return options.seeds or ([0] if options.quick else [0, 1, 2])


def parsed_arms(
    description: str | None, arms: Sequence[str], arguments: Sequence[str] | None = None
) -> argparse.Namespace:
    """The options where `--arms` chooses among these, too."""
    known = parser(description)
    known.add_argument("--arms", type=lambda text: text.split(","), default=list(arms))
    options = known.parse_args(arguments)
    options.seeds = seeds_of(options)
    if unknown := set(options.arms) - set(arms):
        known.error(f"--arms {','.join(sorted(unknown))}: choose from {','.join(arms)}")
    return options


def command_line(name: str, options: argparse.Namespace, *choices: str) -> str:
    """How to measure the same again, in one run.

    Args:
        name: of the script.
        options: it was started with.
        choices: options that are told, each a text or a list.
    """
    quick = ["--quick"] if options.quick else []
    chosen = [f"--{choice} {_listed(getattr(options, choice))}" for choice in choices]
    return " ".join([f"python benchmarks/{name}.py", *quick, *chosen])


def _listed(value: str | Sequence[str | float]) -> str:
    values = [value] if isinstance(value, str) else value
    return ",".join(each if isinstance(each, str) else f"{each:g}" for each in values)


def digest(settings: Mapping[str, Any]) -> str:
    """sha256 of whatever decides a result, by name; JSON or dataclasses of it."""
    text = json.dumps(settings, sort_keys=True, default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()


def settings_of(config: RunConfig, *, without: Sequence[str] = ()) -> dict[str, Any]:
    """Of a configuration, what decides a result; not where it is kept, nor the choice of trials.

    Args:
        config: of a trial.
        without: further groups that decide nothing there, e.g. `LEARNING`.
    """
    found = dataclasses.asdict(config)
    drop_unset_additions(found)
    for group in ("run", "log", "monitor", "agent", "synthesis", *without):
        del found[group]
    del found["engine"]["compilation_cache"]
    of_tasks = [field.name for field in dataclasses.fields(EpisodesConfig)]
    for choice in ("personas", "methods", "seeds", *of_tasks):
        del found["suite"][choice]
    return found


def kept(file: Path, settings: str, measure: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
    """What the file holds, once `measure` has been called where it is not there yet.

    Args:
        file: of the trial.
        settings: the digest of what decides the result.
        measure: takes its time; called while no other process measures the same.

    Raises:
        ConfigError: the file was measured with other settings, or another process does not come to
            an end with it.
    """
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        with _alone(file):
            if not file.exists():
                own = {"settings": settings, "git_sha": git_sha()}
                write_json(file, {**measure(), **own})
    found = json.loads(file.read_text(encoding="utf-8"))
    if found.get("settings") != settings:
        msg = (
            f"{file} was measured with other settings than those asked for: give the run another "
            "--run-name, or remove the file to measure it again"
        )
        raise ConfigError(msg)
    return found


def begun_anew(folder: Path) -> Path:
    """A folder with nothing in it: what was cut off in the middle is not gone on with."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    return folder


@contextmanager
def _alone(file: Path) -> Generator[None]:
    with file.with_suffix(".lock").open("w") as held:
        if not lock(held, wait_s=_WAIT_S, poll_s=_POLL_S):
            msg = (
                f"{file} has been measured by another process for {_WAIT_S:.0f} s: end that one, "
                "or choose other seeds and arms"
            )
            raise ConfigError(msg)
        yield


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    msg = f"{value!r} is neither JSON nor a dataclass: settings are compared as text"
    raise TypeError(msg)
