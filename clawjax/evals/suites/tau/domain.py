"""A domain: tools over a database of plain JSON, and how its state is compared.

Invariant: the same calls on the same database give the same hash, in the environment's process and
in the scorer's.
"""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from clawjax.errors import ConfigError
from clawjax.evals.harness.tasks import Action, Tool, ToolKind
from clawjax.own import check_trusted

__all__ = [
    "BUNDLED",
    "Database",
    "Domain",
    "ToolError",
    "accepted",
    "changes",
    "digest",
    "fresh_copy",
    "load_domain",
    "replay",
]

BUNDLED = {name: f"clawjax.evals.suites.tau.{name}" for name in ("library", "airline", "retail")}
"""Modules of the domains that are here, by the names that `suite.options.domain` takes."""

_MEMBERS = ("TOOLS", "KINDS", "TERMINATING", "call")

Database = dict[str, Any]


class ToolError(ValueError):
    """A call that cannot be carried out; told to the agent."""


class Domain(Protocol):
    """What a domain brings: a module with these."""

    TOOLS: Sequence[Tool]
    KINDS: Mapping[str, ToolKind]
    """Of the tools by name; what only reads leaves the database as it was."""
    TERMINATING: frozenset[str]
    """Calls that end the conversation."""

    def call(self, database: Database, name: str, arguments: Mapping[str, Any]) -> Any:
        """Carry out a call, changing `database`; the result as JSON.

        Raises:
            ToolError: it cannot be carried out; nothing was changed.
        """
        ...


def load_domain(name: str) -> Any:
    """A domain: one of `BUNDLED`, or any module that is a `Domain`.

    Raises:
        ConfigError: there is no such module, it is no domain, or it may not be imported.
    """
    module = BUNDLED.get(name, name)
    if name not in BUNDLED:
        check_trusted(name, "suite.options.domain")
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as missing:
        msg = f"suite.options.domain={name!r}: {missing}; use {', '.join(BUNDLED)} or a module"
        raise ConfigError(msg) from missing
    lacking = [each for each in _MEMBERS if not hasattr(found, each)]
    if lacking:
        msg = f"suite.options.domain={name!r} is no domain: it lacks {', '.join(lacking)}"
        raise ConfigError(msg)
    return found


def fresh_copy(database: Database) -> Database:
    """A copy that shares nothing: by way of JSON, which takes half as long as `deepcopy`."""
    return json.loads(json.dumps(database))


def replay(domain: Domain, database: Database, actions: Iterable[Action]) -> Database:
    """The state after some calls on a fresh copy; calls that fail change nothing."""
    state = fresh_copy(database)
    _carry_out(domain, state, actions)
    return state


def accepted(domain: Domain, database: Database, actions: Iterable[Action]) -> list[Action]:
    """Those of some calls on a fresh copy that are not refused."""
    return _carry_out(domain, fresh_copy(database), actions)


def _carry_out(domain: Domain, state: Database, actions: Iterable[Action]) -> list[Action]:
    names = {tool.name for tool in domain.TOOLS}
    done: list[Action] = []
    for action in actions:
        if action.name not in names:
            continue
        try:
            domain.call(state, action.name, action.arguments)
        except ToolError:
            continue  # as in tau-bench: gold may hold calls that are refused
        done.append(action)
    return done


def digest(database: Database) -> str:
    """sha256 of the state."""
    return hashlib.sha256(json.dumps(database, sort_keys=True).encode()).hexdigest()


def changes(before: Any, after: Any, where: str = "") -> list[str]:
    """Paths whose values differ, e.g. `loans/l-1/due`."""
    if before == after:
        return []
    if isinstance(before, dict) and isinstance(after, dict):
        keys = sorted(before.keys() | after.keys())
        absent = object()
        return [
            path
            for key in keys
            for path in changes(before.get(key, absent), after.get(key, absent), f"{where}/{key}")
        ]
    return [where.removeprefix("/")]
