"""Database tasks from the published JSON lines.

A line: `{description, add_description, type: [t], table: {table_name, table_info: {columns:
[{name, type}], rows}} or a list of such, label: [text], answer_md5?, sql: {query}, evidence?}`.
`label` of a change is the statement; where `answer_md5` is missing or empty, its hash is computed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clawjax.errors import ConfigError
from clawjax.evals.harness.tasks import Action, Limits, Reference, Task
from clawjax.evals.suites.agentbench.dbbench.mysql import MySQL
from clawjax.evals.suites.agentbench.dbbench.rules import CHANGES
from clawjax.evals.suites.agentbench.dbbench.wording import EXECUTE, TOOLS

__all__ = ["gold_hash", "load", "read_entries", "tables_of", "task_of"]

ROUNDS = 15
"""Replies at most (`max_round` in `configs/tasks/dbbench.yaml`); a reply of the paper's edition has
one statement, one of `fc` any number of calls."""

_NEEDED = ("description", "type", "table")


def load(path: Path, *, split: str, system: str, edition: str) -> tuple[Task, ...]:
    """All tasks of a file.

    Raises:
        ConfigError: there is no such file, or a line is no task.
    """
    entries, version = read_entries(path)
    return tuple(
        task_of(entry, number, split=split, system=system, edition=edition, version=version)
        for number, entry in enumerate(entries)
    )


def read_entries(path: Path) -> tuple[list[dict[str, Any]], str]:
    """The lines of a file, and its sha256.

    Raises:
        ConfigError: as `load`.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        msg = (
            f"suite.options.path={path} cannot be read ({error.strerror}): name a JSONL of dbbench"
        )
        raise ConfigError(msg) from error
    lines = [line for line in content.decode().split("\n") if line.strip()]
    entries = [json.loads(line) for line in lines]
    for number, entry in enumerate(entries, 1):
        missing = [name for name in _NEEDED if name not in entry]
        if missing:
            msg = f"{path}:{number} has no {', '.join(missing)}: name a JSONL of dbbench"
            raise ConfigError(msg)
    return entries, hashlib.sha256(content).hexdigest()


def task_of(
    entry: Mapping[str, Any], number: int, *, split: str, system: str, edition: str, version: str
) -> Task:
    """One line as a task."""
    kind = entry["type"][0]
    label = [str(each) for each in entry.get("label") or ()]
    is_paper = edition == "paper"
    answer = json.dumps(label, ensure_ascii=False)
    statement = (Action(EXECUTE, {"query": _statement(entry)}),) if kind in CHANGES else ()
    final = Action.answer('["done"]' if kind in CHANGES else answer)
    return Task(
        suite="dbbench",
        task_id=f"{split}-{number:03d}",
        instruction=_question(entry),
        tools=TOOLS,
        system=system,
        split=split,
        limits=Limits(
            turns=ROUNDS + is_paper,
            format_errors=1 if is_paper else ROUNDS,
            action_errors=1 if is_paper else ROUNDS,
        ),
        options={"tables": tables_of(entry), "statements": ROUNDS if is_paper else None},
        reference=Reference(
            answer=gold_hash(entry) if kind in CHANGES else label,
            actions=(*statement, final),
            # Of questions only the answer is known.
            steps=len(statement) + 1 if statement else None,
        ),
        metadata={"type": kind},
        data_version=version,
    )


def tables_of(entry: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """One table or several."""
    found = entry["table"]
    return list(found) if isinstance(found, list) else [found]


def gold_hash(entry: Mapping[str, Any]) -> str:
    """The published one; computed from the gold statement where there is none."""
    if entry.get("answer_md5"):
        return str(entry["answer_md5"])
    database = MySQL(tables_of(entry))
    told = database.execute(_statement(entry))
    found = database.fingerprint()
    database.close()
    if found is None or not told.startswith("["):
        msg = f"the gold statement of {entry['description']!r:.60} fails: {told}"
        raise ConfigError(msg)
    return found


def _statement(entry: Mapping[str, Any]) -> str:
    label = entry.get("label") or ()
    query = label[0] if label else (entry.get("sql") or {}).get("query", "")
    return str(query).replace("\n", " ")


def _question(entry: Mapping[str, Any]) -> str:
    parts = (entry["description"], entry.get("add_description", ""))
    evidence = entry.get("evidence")
    return "\n".join([*parts, f"Evidence: {evidence}"] if evidence else parts)
