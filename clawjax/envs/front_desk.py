"""A front desk: four calls in the right order, each with an argument from the request or a result.

Owns the rules of a small world for learning to use tools in steps. To check a guest in, `find` the
key of their name, `open` their file by that key, `book` the room they want, and `send` the
confirmation to their name, which ends the task. What comes too early or is wrong is refused in
words; finding, or sending to, somebody else is not refused, it is only no use. Scripted and
deterministic: the same calls get the same answers.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["GUESTS", "KEYS", "ROOMS", "TOOLS", "DeskTask", "FrontDesk", "desk_tasks"]

GUESTS = "abcdefgh"
ROOMS = "stuvwxyz"
KEYS = "ijklmnop"

Call = tuple[str, dict[str, str]]

_ARGUMENTS = {"find": "name", "open": "key", "book": "room", "send": "name"}

TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {
            "name": tool,
            "parameters": {
                "type": "object",
                "properties": {argument: {"type": "string"}},
                "required": [argument],
                "additionalProperties": False,
            },
        },
    }
    for tool, argument in _ARGUMENTS.items()
]
"""The tools in OpenAI's form."""


@dataclass(frozen=True, slots=True)
class DeskTask:
    """Who wants which room, and who has which key."""

    guest: str
    room: str
    keys: Mapping[str, str]
    """By guest."""

    @property
    def request(self) -> str:
        """What the user says."""
        return f"Check guest {self.guest} into room {self.room}."

    @property
    def solution(self) -> tuple[Call, ...]:
        """The calls that solve it, in order."""
        return (
            ("find", {"name": self.guest}),
            ("open", {"key": self.keys[self.guest]}),
            ("book", {"room": self.room}),
            ("send", {"name": self.guest}),
        )


def desk_tasks(count: int, *, seed: int, is_held_out: bool) -> Iterator[DeskTask]:
    """Tasks by a seed. A quarter of the pairs of guest and room is only ever held out.

    Args:
        count: how many.
        seed: of the choice and of who has which key.
        is_held_out: which pairs.
    """
    rng = random.Random(f"desk:{seed}:{is_held_out}")
    pairs = [
        (guest, room)
        for i, guest in enumerate(GUESTS)
        for j, room in enumerate(ROOMS)
        if ((i + j) % 4 == 0) is is_held_out
    ]
    for _ in range(count):
        guest, room = rng.choice(pairs)
        yield DeskTask(guest, room, dict(zip(GUESTS, rng.sample(KEYS, len(KEYS)), strict=True)))


@dataclass(slots=True)
class FrontDesk:
    """One task while it is being done."""

    task: DeskTask
    is_done: bool = False
    _has_found: bool = False
    _opened: str | None = None
    _booked: dict[str, str] = field(default_factory=dict)
    _sent_to: str | None = None

    def call(self, name: str, arguments: Mapping[str, Any] | None) -> str:
        """Carry out a call; the tool's answer.

        Args:
            name: of the tool.
            arguments: decoded; None where they could not be.
        """
        if name not in _ARGUMENTS:
            return f"Error: there is no tool {name!r}"
        argument = (arguments or {}).get(_ARGUMENTS[name])
        if not isinstance(argument, str):
            return f"Error: invalid arguments, {_ARGUMENTS[name]} is missing"
        match name:
            case "find":
                return self._find(argument)
            case "open":
                return self._open(argument)
            case "book":
                return self._book(argument)
            case _:
                return self._send(argument)

    @property
    def is_solved(self) -> bool:
        """Whether the right guest has the right room, alone, and knows."""
        wanted = {self.task.guest: self.task.room}
        return self.is_done and self._booked == wanted and self._sent_to == self.task.guest

    def _find(self, name: str) -> str:
        if name not in self.task.keys:
            return f"Error: there is no guest {name!r}"
        self._has_found = True
        return f"{name} has key {self.task.keys[name]}"

    def _open(self, key: str) -> str:
        if not self._has_found:
            return "Error: find a guest first"
        owners = [guest for guest, own in self.task.keys.items() if own == key]
        if not owners:
            return f"Error: there is no key {key!r}"
        self._opened = owners[0]
        return f"file of key {key} is open"

    def _book(self, room: str) -> str:
        if self._opened is None:
            return "Error: open a file first"
        if room not in ROOMS:
            return f"Error: there is no room {room!r}"
        self._booked[self._opened] = room
        return f"room {room} is booked"

    def _send(self, name: str) -> str:
        if not self._booked:
            return "Error: book a room first"
        if name not in self.task.keys:
            return f"Error: there is no guest {name!r}"
        self.is_done, self._sent_to = True, name
        return f"sent to {name}"
