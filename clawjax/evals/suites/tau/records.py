"""Files in tau2's format: `tasks.json`, `db.json` (or `.gz`), `policy.md` (or `.txt`).

As shipped in the wheel of `inspect-evals` (MIT), whose files are read and whose code is not run,
and in tau2-bench. Tasks of the older tau-bench differ in their keys only.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clawjax.errors import ConfigError, UnavailableError
from clawjax.evals.harness.tasks import Action

__all__ = [
    "TauTask",
    "data_version",
    "find_file",
    "published_folder",
    "read_json",
    "read_splits",
    "read_tasks",
]

_BASIS = ("DB", "COMMUNICATE")
"""Where a task does not say: tau-bench's reward."""


@dataclass(frozen=True, slots=True)
class TauTask:
    """One task as its file has it."""

    task_id: str
    scenario: str
    script: Mapping[str, Any] | None
    """Of a scripted user; None: a model has to play the scenario."""
    actions: tuple[Action, ...]
    """The agent's gold calls."""
    communicate: tuple[str, ...]
    """What has to be told."""
    basis: tuple[str, ...]
    """Components whose product is the reward."""
    has_initial_state: bool


def read_tasks(content: bytes) -> list[TauTask]:
    """All tasks of a `tasks.json`.

    Raises:
        ConfigError: it is in another format.
    """
    try:
        return [_task(entry) for entry in json.loads(content)]
    except (KeyError, TypeError, AttributeError) as error:
        msg = f"tasks.json is not in tau2's format: {type(error).__name__} {error}"
        raise ConfigError(msg) from error


def published_folder(domain: str) -> Path:
    """The folder of a published domain in the installed package `inspect-evals`.

    Raises:
        UnavailableError: it is not installed.
    """
    spec = importlib.util.find_spec("inspect_evals")  # found, not imported: it needs inspect_ai
    if spec is None or not spec.submodule_search_locations:
        msg = (
            f"the tasks of suite.options.domain={domain} are not installed: "
            "pip install --no-deps inspect-evals, or set suite.options.path to their folder"
        )
        raise UnavailableError(msg)
    return Path(spec.submodule_search_locations[0], "tau2", "data", "domains", domain)


def read_splits(folder: Path) -> dict[str, str]:
    """`train` or `test` by task id, where a folder says it (`split_tasks.json`)."""
    path = folder / "split_tasks.json"
    if not path.is_file():
        return {}
    parts = read_json(path)
    return {task_id: name for name in ("train", "test") for task_id in parts.get(name, ())}


def read_json(path: Path) -> Any:
    """A JSON file, compressed or not."""
    content = path.read_bytes()
    return json.loads(gzip.decompress(content) if path.suffix == ".gz" else content)


def find_file(folder: Path, names: Sequence[str]) -> Path:
    """The first of `names` that a folder has.

    Raises:
        ConfigError: it has none.
    """
    for name in names:
        if (folder / name).is_file():
            return folder / name
    msg = f"{folder} has none of {', '.join(names)}: set suite.options.path to a domain's folder"
    raise ConfigError(msg)


def data_version(*paths: Path) -> str:
    """sha256 over some files."""
    total = hashlib.sha256()
    for path in paths:
        total.update(path.read_bytes())
    return total.hexdigest()


def _task(entry: Mapping[str, Any]) -> TauTask:
    scenario = entry["user_scenario"]
    criteria = entry["evaluation_criteria"] or {}
    actions = criteria.get("actions") or []
    told = scenario["instructions"]
    lines = told if isinstance(told, str) else "\n".join(f"{k}: {v}" for k, v in told.items() if v)
    return TauTask(
        task_id=str(entry["id"]),
        scenario=lines,
        script=scenario.get("script"),
        actions=tuple(
            Action(each["name"], each["arguments"])
            for each in actions
            if each.get("requestor", "assistant") == "assistant"
        ),
        communicate=tuple(criteria.get("communicate_info") or ()),
        basis=tuple(criteria.get("reward_basis") or _BASIS),
        has_initial_state=bool(entry.get("initial_state")),
    )
