"""What every format of tool calls is made of: characters in, calls out.

A reader is a generator that is sent one character at a time, so whatever pieces a reply comes in,
it is read the same way. It raises `Malformed` where what it reads is no call after all. Invariant:
text is given back exactly unless a call has begun in it; a call that has begun is never taken back:
if it goes wrong, its arguments are what was written, and it says why. What no encoding takes is
replaced on its way out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, cast

from clawjax.records import ToolCall
from clawjax.texts import whole, whole_json

__all__ = [
    "CallDelta",
    "CallFormat",
    "CallWriter",
    "Cursor",
    "Form",
    "Malformed",
    "Reading",
    "Tools",
    "arguments_of",
    "calls_of",
    "parameters_of",
    "tools_of",
]

Reading = Generator[None, str, None]
Form = dict[str, Any]
"""A structural tag's `format`, see `clawjax.engine.grammar`."""
Tools = Mapping[str, Mapping[str, Any]]
"""The JSON schema of each offered function's parameters, by name."""


class Malformed(Exception):  # noqa: N818 - says what was read
    """This is no call. `reason` is None where it may well not be meant as one."""

    def __init__(self, reason: str | None) -> None:
        """Say what is wrong with it."""
        super().__init__(reason)
        self.reason = reason


class CallDelta(NamedTuple):
    """What is new of a call; the first of a call has its id and name."""

    position: int
    """Of the call within its reply, from 0."""
    arguments: str = ""
    call_id: str | None = None
    name: str | None = None

    @property
    def begun(self) -> ToolCall | None:
        """The call with what there is of it; None where this is more of one."""
        if self.name is None:
            return None
        return ToolCall(self.call_id or "", self.name, self.arguments)


class CallFormat(Protocol):
    """How one family writes calls."""

    @property
    def name(self) -> str:
        """What `gateway.tool_parser` calls it."""
        ...

    @property
    def tags(self) -> Sequence[str]:
        """Texts that begin calls, wherever they are written."""
        ...

    @property
    def bare(self) -> str:
        """Characters that may begin calls where they are the first of a reply."""
        ...

    def read(self, tag: str, cursor: Cursor, writer: CallWriter) -> Reading:
        """Read what follows a tag (empty for a bare call, whose first character is next).

        What has been read since the cursor's last mark is text.

        Raises:
            Malformed: it is no call.
        """
        ...

    def form(self, tools: Tools, *, is_one: bool) -> Form:
        """The grammar of a reply that consists of calls, of one or of any number but none."""
        ...

    def written(self, name: str, arguments: str) -> str:
        """A call as text, for templates that do not know calls."""
        ...


class Cursor:
    """The characters of a reply from some point on; `""` is its end."""

    def __init__(self, tag: str, ahead: str | None = None) -> None:
        """Begin behind `tag`, with the next character if it is known."""
        self.raw = [tag, *(ahead or "")]
        """What has been read since the last mark, the character ahead included."""
        self.is_cut = False
        """Whether the reply was cut off where it ended."""
        self._ahead = ahead

    def peek(self) -> Generator[None, str, str]:
        """The next character."""
        if self._ahead is None:
            self._ahead = yield
            self.raw.append(self._ahead)
        return self._ahead

    def take(self) -> Generator[None, str, str]:
        """The next character; it is behind us then. The end stays ahead."""
        char = yield from self.peek()
        if char:
            self._ahead = None
        return char

    def space(self) -> Generator[None, str, str]:
        """Skip white space; the next character, which is not taken."""
        while (char := (yield from self.peek())).isspace():
            yield from self.take()
        return char

    def expect(self, text: str, *, reason: str | None = None) -> Reading:
        """Take `text`.

        Raises:
            Malformed: something else comes.
        """
        for wanted in text:
            if (yield from self.peek()) != wanted:
                raise Malformed(reason or f"expected {text!r}")
            yield from self.take()

    def word(self, allowed: Callable[[str], bool]) -> Generator[None, str, str]:
        """Take characters as long as they are allowed."""
        word: list[str] = []
        while (char := (yield from self.peek())) and allowed(char):
            word.append(char)
            yield from self.take()
        return "".join(word)

    def until(
        self,
        end: str,
        put: Callable[[str], None] = lambda text: None,
        *,
        keep: int = 0,
        stop: str = "",
    ) -> Generator[None, str, str | None]:
        """Take everything up to and including `end`, or `stop`.

        Args:
            end: what to look for.
            put: is given the text as it comes, except for its last `keep` characters.
            keep: what is left over is returned instead.
            stop: what never comes before `end` in a good call; empty for nothing.

        Returns:
            The text before `end` that was not put; None where it did not come.
        """
        held = ""
        while char := (yield from self.take()):
            held += char
            if held.endswith(end):
                return held[: -len(end)]
            if stop and held.endswith(stop):
                return None
            excess = len(held) - keep - len(end) + 1
            if excess > 0:
                put(held[:excess])
                held = held[excess:]
        put(held)
        return None

    def mark(self) -> None:
        """What was taken so far is accounted for."""
        self.raw = [self._ahead] if self._ahead else []

    def is_over(self, closes: str) -> bool:
        """Whether what is open ends here without its brackets: where the reply ends, uncut."""
        return not self.is_cut if self._ahead == "" else self._ahead in tuple(closes)

    @property
    def is_at_end(self) -> bool:
        """Whether the reply is over."""
        return self._ahead == ""


class CallWriter:
    """Takes the calls of a reply as they are read."""

    def __init__(
        self, tools: Tools, new_id: Callable[[], str], emit: Callable[[CallDelta], None]
    ) -> None:
        """Number the calls from 0."""
        self.tools = tools
        self.count = 0
        """Calls that have begun."""
        self.is_open = False
        self._arguments: list[str] = []
        self.origin = 0
        """Where in `Cursor.raw` the arguments of the last call begin."""
        self.malformed: str | None = None
        """What is wrong with the first call that is."""
        self._new_id = new_id
        self._emit = emit

    @property
    def arguments(self) -> str:
        """Those of the last call, so far."""
        return "".join(self._arguments)

    def begin(self, name: str, origin: int = 0) -> None:
        """A call is certain."""
        self.origin = origin
        self._emit(CallDelta(self.count, call_id=self._new_id(), name=whole(name)))
        self.count += 1
        self.is_open, self._arguments = True, []

    def write(self, text: str) -> None:
        """More of its arguments, as JSON; no escape and no pair of them in pieces."""
        if text:
            self._arguments.append(text)
            self._emit(CallDelta(self.count - 1, whole_json(text)))

    def end(self, cursor: Cursor) -> None:
        """It is complete."""
        self.is_open = False
        cursor.mark()

    def fail(self, reason: str | None) -> None:
        """It went wrong, or a call was meant and none came of it."""
        self.is_open = False
        self.malformed = self.malformed or reason


def tools_of(tools_json: str | None) -> Tools:
    """The offered functions, from the request's tools as JSON text."""
    listed = [] if tools_json is None else json.loads(tools_json)
    functions = [tool["function"] for tool in listed]
    return {function["name"]: function.get("parameters") or {} for function in functions}


def arguments_of(text: str) -> dict[str, Any]:
    """A call's arguments; what a client sent as something else than an object has none."""
    try:
        decoded: object = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return cast("dict[str, Any]", decoded) if isinstance(decoded, dict) else {}


def calls_of(
    tools: Tools,
    begin: Callable[[str], str],
    end: str,
    *,
    separator: str,
    is_one: bool,
    content: Callable[[Form], Form] | None = None,
) -> Form:
    """At least one call of these functions.

    Args:
        tools: what may be called.
        begin: what is written before a function's arguments.
        end: what is written behind them.
        separator: between two calls.
        is_one: whether the first is the last.
        content: how arguments of a schema are written; as JSON where it is None.
    """
    write = content or _as_json
    return {
        "type": "tags_with_separator",
        "tags": [
            {
                "type": "tag",
                "begin": begin(name),
                "content": write(parameters_of(schema)),
                "end": end,
            }
            for name, schema in tools.items()
        ],
        "separator": separator,
        "at_least_one": True,
        "stop_after_first": is_one,
    }


def _as_json(schema: Form) -> Form:
    return {"type": "json_schema", "json_schema": schema}


def parameters_of(schema: Mapping[str, Any]) -> Form:
    """A JSON schema of arguments: an object, without what the function does not know."""
    closed = {"additionalProperties": False} if "properties" in schema else {}
    return {"type": "object", **closed, **schema}
