"""What is to be known of a client: how to install it, set it up and talk to it.

Texts may hold placeholders, which `filled` replaces: @BASE@ (the gateway's address), @URL@ (the
same with /v1), @MODEL@, @HOME@, @WORK@ (a folder to work in), @PROGRAMS@ (of `clients/programs`)
and, in commands, @TEXT@ (what the person says).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["ANSWERS", "Here", "Npm", "Pip", "Recipe", "Tool", "filled"]


@dataclass(frozen=True, slots=True)
class Here:
    """In this environment already, as a requirement of the project."""

    package: str


@dataclass(frozen=True, slots=True)
class Pip:
    """From PyPI, into an environment of its own."""

    package: str
    version: str
    extra: str = ""

    @property
    def folder(self) -> str:
        """Where it is kept."""
        return self.package


@dataclass(frozen=True, slots=True)
class Npm:
    """From npm, into a prefix of its own, run by Node 24 from npm."""

    package: str
    version: str

    @property
    def folder(self) -> str:
        """Where it is kept."""
        return self.package.replace("/", "+")


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool of the client whose result holds a text that it is called with."""

    name: str
    argument: str
    value: str = "echo {}"
    others: Mapping[str, object] = field(default_factory=dict)
    """Arguments that it wants besides."""

    def call(self, text: str) -> str:
        """As a model writes it."""
        arguments = {self.argument: self.value.format(text), **self.others}
        return f"<tool_call>{json.dumps({'name': self.name, 'arguments': arguments})}</tool_call>"


ANSWERS = Tool("final_answer", "answer", "{}")
"""For agents whose answer has to be a call."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """One client."""

    name: str
    install: Here | Pip | Npm
    command: tuple[str, ...]
    """Says the first thing; a whole conversation where it has no @TEXT@: the texts follow as
    arguments, or as lines of its input where `is_typed`."""
    goes_on: tuple[str, ...] = ()
    """Says another thing in the same conversation; empty: as the first."""
    then: tuple[tuple[str, ...], ...] = ()
    """Commands at the end in which nothing is said: what makes it mind its own business."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Settings, by path in the home folder."""
    environment: Mapping[str, str] = field(default_factory=dict)
    conversations: tuple[str, ...] = ("heron",)
    """A command holds one conversation of each name, in this order, where it holds whole ones."""
    tool: Tool | None = None
    """None: it has none."""
    answers_by: Tool | None = None
    sides: Mapping[str, str] = field(default_factory=dict)
    """Its own business: by name, what the prompt of such a request matches."""
    least_sides: int = 0
    """How many such requests it makes at least."""
    is_typed: bool = False
    is_quick: bool = False
    """It is installed and done within seconds."""
    retries: bool = True
    """It asks again when it is answered 503."""
    timeout_s: float = 120.0
    """For each command."""

    @property
    def holds_all(self) -> bool:
        """Whether one command has the whole conversation."""
        return not any("@TEXT@" in word for word in self.command)


def filled(text: str, values: Mapping[str, str]) -> str:
    """The text with its placeholders replaced."""
    for name, value in values.items():
        text = text.replace(f"@{name}@", value)
    return text
