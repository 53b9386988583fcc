"""A domain: tools over a database of plain JSON, and how its state is compared.

Invariant: the same calls on the same database give the same hash, in the environment's process and
in the scorer's.
"""

from __future__ import annotations

import copy
import hashlib
import importlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from clawjax.evals.harness.tasks import Action, Tool

__all__ = ["Database", "Domain", "ToolError", "changes", "digest", "load_domain", "replay"]

Database = dict[str, Any]


class ToolError(ValueError):
    """A call that cannot be carried out; told to the agent."""


class Domain(Protocol):
    """What a domain brings: a module with these."""

    TOOLS: Sequence[Tool]
    TERMINATING: frozenset[str]
    """Calls that end the conversation."""

    def call(self, database: Database, name: str, arguments: Mapping[str, Any]) -> Any:
        """Carry out a call, changing `database`; the result as JSON.

        Raises:
            ToolError: it cannot be carried out; nothing was changed.
        """
        ...


def load_domain(module: str) -> Any:
    """The module of a domain, as a `Domain`."""
    return importlib.import_module(module)


def replay(domain: Domain, database: Database, actions: Iterable[Action]) -> Database:
    """The state after some calls on a fresh copy; calls that fail change nothing."""
    state = copy.deepcopy(database)
    names = {tool.name for tool in domain.TOOLS}
    for action in actions:
        if action.name not in names:
            continue
        try:
            domain.call(state, action.name, action.arguments)
        except ToolError:
            continue  # as in tau-bench: gold may hold calls that are refused
    return state


def digest(database: Database) -> str:
    """sha256 of the state."""
    return hashlib.sha256(json.dumps(database, sort_keys=True).encode()).hexdigest()


def changes(before: Any, after: Any, where: str = "") -> list[str]:
    """Paths whose values differ, e.g. `loans/l-1/due`."""
    if isinstance(before, dict) and isinstance(after, dict):
        keys = sorted(before.keys() | after.keys())
        absent = object()
        return [
            path
            for key in keys
            for path in changes(before.get(key, absent), after.get(key, absent), f"{where}/{key}")
        ]
    return [] if before == after else [where.removeprefix("/")]
