"""A domain's tools as records: what an agent is told of each, its kind, and what it does.

Invariant: the schema of a tool is closed, so that a call which passes it has all arguments of the
tool's function and no others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from clawjax.evals.harness.tasks import Tool, ToolKind
from clawjax.evals.suites.tau.arithmetic import calculate
from clawjax.evals.suites.tau.domain import Database, ToolError
from clawjax.json_schema import with_whole_numbers

__all__ = [
    "CALCULATE",
    "Entry",
    "Toolkit",
    "array",
    "entry",
    "integer",
    "record",
    "text",
    "transfer",
]

Schema = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Entry:
    """One tool."""

    tool: Tool
    kind: ToolKind
    run: Callable[..., Any]
    """Called with the database and the arguments by name; raises `ToolError` before it changes
    anything."""


class Toolkit:
    """The tools of a domain, as `Domain` wants them."""

    def __init__(self, *entries: Entry) -> None:
        """Keep the tools in this order."""
        self._entries = {each.tool.name: each for each in entries}
        self.tools = tuple(each.tool for each in entries)
        self.kinds: Mapping[str, ToolKind] = {each.tool.name: each.kind for each in entries}

    def call(self, database: Database, name: str, arguments: Mapping[str, Any]) -> Any:
        """As `Domain.call`; whether an argument was written 3 or 3.0 makes no other state."""
        if name not in self._entries:
            msg = f"Tool {name!r} not found"
            raise ToolError(msg)
        return self._entries[name].run(database, **with_whole_numbers(arguments))


def entry(
    kind: ToolKind, run: Callable[..., Any], description: str, /, **properties: Schema
) -> Entry:
    """A tool that is named after its function."""
    name = run.__name__.removeprefix("_")
    return Entry(Tool(name, description, record(**properties)), kind, run)


def record(**properties: Schema) -> Schema:
    """An object with these and no other keys."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def text(*examples: str, about: str = "", choices: tuple[str, ...] = ()) -> Schema:
    """A string; `choices` are all that it may be."""
    told = {"description": about} if about else {}
    allowed = {"enum": list(choices)} if choices else {}
    return {"type": "string", **told, **allowed, "examples": list(examples or choices)}


def integer(*examples: int, about: str = "") -> Schema:
    """A whole number."""
    told = {"description": about} if about else {}
    return {"type": "integer", **told, "examples": list(examples)}


def array(items: Schema, *examples: list[Any], about: str) -> Schema:
    """A list."""
    return {"type": "array", "description": about, "items": items, "examples": list(examples)}


def transfer(description: str, told: str) -> Entry:
    """The tool that hands the user over.

    Args:
        description: what the agent is told of it.
        told: what it returns.
    """

    def transfer_to_human_agents(database: Database, summary: str) -> str:
        return told

    return entry("generic", transfer_to_human_agents, description, summary=text("a question"))


def _calculate(database: Database, expression: str) -> str:
    return calculate(expression)


CALCULATE = entry(
    "generic", _calculate, "Work out a sum; the result has two decimals.",
    expression=text("2 * (350 - 122.5)", about="Numbers, + - * /, parentheses and spaces."),
)  # fmt: skip
"""tau2's `calculate`."""
