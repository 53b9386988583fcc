"""WebArena-Verified's task file: one JSON list, `webarena-verified.json` (812 tasks, Apache-2.0).

The file is read as data, wherever the package is installed; its code runs in a process of its own
(`published`). Only what playing a task takes is read here: what an evaluator checks is the
scorer's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from clawjax.errors import ConfigError

__all__ = ["Needs", "VerifiedTask", "hard_tasks", "read_verified"]

_RESPONSE = "AgentResponseEvaluator"
_REQUESTS = "NetworkEventEvaluator"
_HARD = Path("subsets") / "webarena-verified-hard.json"
_WITHOUT_LOGIN = frozenset(("map", "wikipedia"))


class Needs(StrEnum):
    """What a task is scored by."""

    RESPONSE = "response"
    """The final answer alone: 324 tasks."""
    REQUESTS = "requests"
    """The answer and the requests of the episode: 488 tasks."""


@dataclass(frozen=True, slots=True)
class VerifiedTask:
    """One task."""

    task_id: int
    sites: tuple[str, ...]
    intent: str
    start_urls: tuple[str, ...]
    template: int
    revision: int
    expected: Mapping[str, Any]
    """The response, with alternatives and patterns where several are right."""
    results_schema: Mapping[str, Any]
    """JSON schema of its `retrieved_data`."""
    events: tuple[Mapping[str, Any], ...]
    """The request that each further evaluator looks for."""

    @property
    def needs(self) -> Needs:
        """What it is scored by."""
        return Needs.REQUESTS if self.events else Needs.RESPONSE

    @property
    def storage_state(self) -> str | None:
        """File of the logged-in browser's state, as WebArena's `auto_login.py` names it.

        That writes none for shop and forum together; WebArena takes the forum's there.
        """
        named = sorted(set(self.sites) - _WITHOUT_LOGIN)
        if named == ["reddit", "shopping"]:
            named = ["reddit"]
        return f"{'.'.join(named)}_state.json" if named else None


def read_verified(content: bytes) -> list[VerifiedTask]:
    """All tasks of a file.

    Raises:
        ConfigError: it is no such file, or has an evaluator that the package does not have.
    """
    try:
        return [_task(entry) for entry in json.loads(content)]
    except (KeyError, IndexError, TypeError, ValueError) as error:
        msg = f"this is no file in WebArena-Verified's format: {type(error).__name__} {error}"
        raise ConfigError(msg) from error


def hard_tasks(data: Path) -> frozenset[int] | None:
    """The hard subset that lies beside a task file; None where there is none.

    Raises:
        ConfigError: it cannot be read.
    """
    path = data.parent / _HARD
    if not path.is_file():
        return None
    try:
        return frozenset(json.loads(path.read_text(encoding="utf-8"))["task_ids"])
    except (KeyError, TypeError, ValueError) as error:
        msg = f"{path} is no subset: {type(error).__name__} {error}"
        raise ConfigError(msg) from error


def _task(entry: Mapping[str, Any]) -> VerifiedTask:
    response, *events = entry["eval"]
    named = [each["evaluator"] for each in entry["eval"]]
    if named != [_RESPONSE, *[_REQUESTS] * len(events)]:
        msg = f"task {entry['task_id']}: eval has {', '.join(named)}"
        raise ValueError(msg)
    return VerifiedTask(
        task_id=entry["task_id"],
        sites=tuple(entry["sites"]),
        intent=entry["intent"],
        start_urls=tuple(entry["start_urls"]),
        template=entry["intent_template_id"],
        revision=entry["revision"],
        expected=response["expected"],
        results_schema=response["results_schema"],
        events=tuple(each["expected"] for each in events),
    )
