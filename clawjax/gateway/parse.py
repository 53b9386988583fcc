"""From the text a model writes to content, reasoning and tool calls, while it is written.

Understands `<tool_call>{"name": ..., "arguments": {...}}</tool_call>` (Hermes, Qwen) and
`<think>...</think>`. Invariant: text is passed on as soon as it cannot be the beginning of a tag;
a call that is not valid JSON stays text, so nothing that was written is lost.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import NamedTuple

from clawjax.records import ToolCall

__all__ = ["ReplyDelta", "ReplyParser", "new_call_id"]

_CALL, _CALL_END = "<tool_call>", "</tool_call>"
_THINK, _THINK_END = "<think>", "</think>"


class ReplyDelta(NamedTuple):
    """New content, new reasoning, or one complete call."""

    content: str = ""
    reasoning: str = ""
    tool_call: ToolCall | None = None


class _Mode(Enum):
    TEXT = auto()
    CALL = auto()
    THOUGHT = auto()


def new_call_id() -> str:
    """A fresh id of letters and digits only, as some clients rewrite any other."""
    return f"call{uuid.uuid4().hex}"


class ReplyParser:
    """One reply. Text goes in by `push`, the rest comes out of `flush`."""

    def __init__(
        self,
        *,
        has_tools: bool,
        has_reasoning: bool,
        opens_reasoning: bool = False,
        call_id: Callable[[], str] = new_call_id,
    ) -> None:
        self._has_tools = has_tools
        self._has_reasoning = has_reasoning
        self._mode = _Mode.THOUGHT if has_reasoning and opens_reasoning else _Mode.TEXT
        self._call_id = call_id
        self._unread = ""
        self._space = ""
        """White space that is dropped if a tag comes next."""
        self._has_begun = False
        """Content, a call, or in a thought some of it, has been passed on."""
        self._has_calls = False

    def push(self, text: str) -> list[ReplyDelta]:
        """Take what was written; return what is certain."""
        if not self._has_tools and not self._has_reasoning:
            return [ReplyDelta(content=text)] if text else []
        self._unread += text
        deltas: list[ReplyDelta] = []
        while self._read_tag(deltas):
            pass
        if self._mode is not _Mode.CALL:
            certain = len(self._unread) - _overlap(self._unread, self._tags())
            deltas += self._written(self._unread[:certain])
            self._unread = self._unread[certain:]
        return deltas

    def flush(self) -> list[ReplyDelta]:
        """The reply has ended: return what was held back."""
        rest, self._unread = self._unread, ""
        deltas = self._call(rest, "") if self._mode is _Mode.CALL else self._written(rest)
        if self._space and self._mode is not _Mode.THOUGHT and not self._has_calls:
            deltas.append(ReplyDelta(content=self._space))
        return deltas

    def _tags(self) -> tuple[str, ...]:
        """The tags that mean something here."""
        if self._mode is _Mode.CALL:
            return (_CALL_END,)
        if self._mode is _Mode.THOUGHT:
            return (_THINK_END,)
        thought = (_THINK,) if self._has_reasoning and not self._has_begun else ()
        return (_CALL, *thought) if self._has_tools else thought

    def _read_tag(self, deltas: list[ReplyDelta]) -> bool:
        """Consume up to and including the next tag, if there is one."""
        found = [(at, tag) for tag in self._tags() if (at := self._unread.find(tag)) >= 0]
        if not found:
            return False
        at, tag = min(found)
        before, self._unread = self._unread[:at], self._unread[at + len(tag) :]
        if tag == _CALL_END:
            self._mode = _Mode.TEXT
            deltas += self._call(before, _CALL_END)
            return True
        deltas += self._written(before)
        if tag == _THINK and self._has_begun:  # an answer may talk about the tag
            deltas += self._written(tag)
        elif tag == _CALL:
            self._mode = _Mode.CALL
        else:
            self._mode = _Mode.THOUGHT if tag == _THINK else _Mode.TEXT
            self._space, self._has_begun = "", False
        return True

    def _written(self, text: str) -> list[ReplyDelta]:
        """Content, or a thought in one; white space waits for what follows it."""
        text = self._space + text
        body = text.rstrip()
        self._space = text[len(body) :]
        if not body:
            return []
        if not self._has_begun:
            body = body.lstrip()
        self._has_begun = True
        if self._mode is _Mode.THOUGHT:
            return [ReplyDelta(reasoning=body)]
        return [ReplyDelta(content=body)]

    def _call(self, text: str, end: str) -> list[ReplyDelta]:
        """One call, or its text unchanged where it is malformed."""
        self._mode = _Mode.TEXT
        parsed = _parse_call(text)
        if parsed is None:
            return self._written(f"{_CALL}{text}{end}")
        self._space, self._has_begun, self._has_calls = "", True, True
        name, arguments = parsed
        return [ReplyDelta(tool_call=ToolCall(self._call_id(), name, arguments))]


def _parse_call(text: str) -> tuple[str, str] | None:
    """Name and arguments as JSON text."""
    try:
        call: object = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(call, dict) or not isinstance(name := call.get("name"), str) or not name:
        return None
    arguments: object = call.get("arguments", call.get("parameters", {}))
    if isinstance(arguments, str):
        return name, arguments
    return name, json.dumps({} if arguments is None else arguments, ensure_ascii=False)


def _overlap(text: str, tags: Sequence[str]) -> int:
    """Length of the longest end of the text that may be the beginning of a tag."""
    longest = max((len(tag) - 1 for tag in tags), default=0)
    for length in range(min(longest, len(text)), 0, -1):
        if any(tag.startswith(text[-length:]) for tag in tags):
            return length
    return 0
