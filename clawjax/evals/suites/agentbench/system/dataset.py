"""Tasks on a machine: AgentBench's JSON, the repaired copy in `inspect-evals`, and our own.

An item: `{description, create?: {init?: script or list}, start?: script, evaluation, labels?}` with
evaluation `{match: text or {answer or regex, strip}}` or `{check: script or list, example?:
script}`. A script is bash as text, or `{language?, file or code}`; null in a list of checks is the
example. (v0.2, `os_interaction/task.py`, `_load_configs`.)
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clawjax.errors import ConfigError
from clawjax.evals.harness.tasks import Limits, Reference, Task
from clawjax.evals.suites.agentbench.system.wording import TOOLS

__all__ = ["inspect_items", "load", "task_of"]

logger = logging.getLogger(__name__)

ROUNDS = 8
_AGENT_HOME = "/home/agent"
_INSPECT_FILES = {"dev": "agent_bench_os.json", "test": "agent_bench_os_test.json"}

Script = tuple[str, str]
"""Language and code."""


def load(path: Path, scripts: Path | None, *, split: str, system: str) -> tuple[Task, ...]:
    """The items of a file in AgentBench's format.

    Args:
        path: of the JSON.
        scripts: folder that `file` of a script is relative to; None: that of the JSON.
        split: name of the tasks' split, also the beginning of their names.
        system: what agents are told of the rules.

    Raises:
        ConfigError: there is no such file, or an item is none.
    """
    items, version = _read(path)
    folder = scripts or path.parent
    return tuple(
        task_of(item, f"{split}-{number:05d}", folder, split=split, system=system, version=version)
        for number, item in enumerate(items)
    )


def inspect_items(split: str, *, system: str) -> tuple[Task, ...]:
    """The repaired tasks of the package `inspect-evals` (MIT).

    Without those whose initial files the package does not carry.

    Raises:
        ConfigError: the package is not installed, or has no such split.
    """
    spec = importlib.util.find_spec("inspect_evals")
    if spec is None or not spec.submodule_search_locations:
        msg = "suite.options.source=inspect needs its data: pip install --no-deps inspect-evals"
        raise ConfigError(msg)
    if split not in _INSPECT_FILES:
        msg = f"suite.options.part={split!r} is unknown: use {', '.join(_INSPECT_FILES)}"
        raise ConfigError(msg)
    data = Path(spec.submodule_search_locations[0]) / "agent_bench" / "data"
    items, version = _read(data / _INSPECT_FILES[split])
    tasks: list[Task] = []
    skipped: list[Any] = []
    for item in map(_with_find, map(_at_home, items)):
        try:
            tasks.append(
                task_of(
                    item,
                    f"inspect-{split}-{item['id']:03d}",
                    data / "scripts",
                    split=split,
                    system=system,
                    version=version,
                    home=_AGENT_HOME,
                )
            )
        except FileNotFoundError:
            skipped.append(item["id"])
    if skipped:
        logger.warning("%d tasks lack files in the package: %s", len(skipped), skipped)
    return tuple(tasks)


def task_of(
    item: Mapping[str, Any],
    task_id: str,
    scripts: Path,
    *,
    split: str,
    system: str,
    version: str,
    home: str = "/root",
) -> Task:
    """One item as a task.

    Raises:
        ConfigError: it has no evaluation, or a script that is none.
        FileNotFoundError: of a script.
    """
    create = item.get("create")
    init = create.get("init") if isinstance(create, Mapping) else None
    start = _script(item["start"], scripts) if "start" in item else None
    wanted = _evaluation(item, scripts)
    is_done_by_example = "match" not in wanted and wanted["expected"] is None
    return Task(
        suite="os",
        task_id=task_id,
        instruction=item["description"],
        tools=TOOLS,
        system=system,
        split=split,
        limits=Limits(turns=ROUNDS, counts_actions=True, format_errors=1, action_errors=1),
        options={
            "home": home,
            "init": [_script(each, scripts) for each in _listed(init)],
            "start": start[1] if start else None,
        },
        # The example and the end; where it computes an answer, only that is known.
        reference=Reference(extra=wanted, steps=2 if is_done_by_example else None),
        metadata={"labels": ",".join(item.get("labels", ()))},
        data_version=version,
    )


def _evaluation(item: Mapping[str, Any], scripts: Path) -> dict[str, Any]:
    """`match`, or `check` as (language, code) with the example in its place; and `example`."""
    told = item["evaluation"]
    example = _script(told["example"], scripts) if "example" in told else None
    if "check" not in told and "match" not in told:
        msg = f"{item['description']!r:.60} has neither match nor check: it cannot be judged"
        raise ConfigError(msg)
    if "check" not in told:
        match = told["match"]
        as_rule = match if isinstance(match, Mapping) else {"answer": str(match), "strip": True}
        return {"match": dict(as_rule), "example": example}
    expected = _printing(str(told["match"])) if "match" in told else example
    steps = [
        expected if each is None else _script(each, scripts) for each in _listed(told["check"])
    ]
    if None in steps:
        msg = f"{item['description']!r:.60} checks against an example that it lacks"
        raise ConfigError(msg)
    asks = any(each is None for each in _listed(told["check"]))
    return {"check": steps, "example": example, "expected": expected if asks else None}


def _script(told: Any, scripts: Path) -> Script:
    if isinstance(told, str):
        return "bash", told
    language = told.get("language", "bash")
    if "file" in told:
        return language, (scripts / told["file"]).read_text(encoding="utf-8")
    if "code" in told:
        return language, told["code"]
    msg = f"{told!r:.80} is no script: it needs file or code"
    raise ConfigError(msg)


def _printing(text: str) -> Script:
    return "python", f"print({text!r}, end='')"


def _listed(told: Any) -> Sequence[Any]:
    if told is None:
        return ()
    return told if isinstance(told, list) else [told]


def _at_home(item: Mapping[str, Any]) -> dict[str, Any]:
    """Paths as that package's own loader rewrites them: texts and dicts, not lists."""
    return {name: _moved(value) for name, value in item.items()}


def _with_find(item: Mapping[str, Any]) -> dict[str, Any]:
    """That package's images have a copy of `find` at home where an item speaks of it."""
    create = item.get("create")
    if "bin/find" not in str(item) or not isinstance(create, Mapping):
        return dict(item)
    copied = f"mkdir -p {_AGENT_HOME}/bin && cp /usr/bin/find {_AGENT_HOME}/bin/find"
    return {**item, "create": {**create, "init": [copied, *_listed(create.get("init"))]}}


def _moved(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _moved(each) for name, each in value.items()}
    if isinstance(value, str):
        return value.replace("/root", _AGENT_HOME).replace("/usr", _AGENT_HOME)
    return value


def _read(path: Path) -> tuple[list[dict[str, Any]], str]:
    try:
        content = path.read_bytes()
    except OSError as error:
        msg = f"suite.options.path={path} cannot be read ({error.strerror}): name a JSON of tasks"
        raise ConfigError(msg) from error
    version = hashlib.sha256(content).hexdigest()
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in content.splitlines() if line.strip()], version
    found = json.loads(content)
    return found if isinstance(found, list) else [found], version
