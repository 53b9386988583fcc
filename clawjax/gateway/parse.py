"""From the text a model writes to content, reasoning and tool calls, while it is written.

Owns where one of them ends and another begins; what a call looks like is its format's
(`clawjax.rendering.formats`). Invariants: the same comes of a text however it is cut into pieces;
it is passed on as soon as it cannot be the beginning of a tag; what is no call stays text, so
nothing that was written is lost, except white space that touches a tag.
"""

from __future__ import annotations

import secrets
import string
from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import NamedTuple

from clawjax.rendering.formats.base import (
    CallDelta,
    CallFormat,
    CallWriter,
    Cursor,
    Malformed,
    Reading,
    Tools,
)
from clawjax.rendering.formats.reasoning import ReasoningFormat

__all__ = ["ReplyDelta", "ReplyParser", "new_call_id"]

_ID_ALPHABET = string.ascii_letters + string.digits
_ID_LENGTH = 9


class ReplyDelta(NamedTuple):
    """New content, new reasoning, or more of a call."""

    content: str = ""
    reasoning: str = ""
    call: CallDelta | None = None


class _Mode(Enum):
    TEXT = auto()
    CALL = auto()
    THOUGHT = auto()


def new_call_id() -> str:
    """A fresh id of nine letters and digits: Mistral's templates take no other, clients keep it."""
    return "".join(secrets.choice(_ID_ALPHABET) for _ in range(_ID_LENGTH))


class ReplyParser:
    """One reply. Text goes in by `push`, the rest comes out of `flush`."""

    def __init__(
        self,
        calls: CallFormat | None,
        reasoning: ReasoningFormat | None,
        *,
        tools: Tools,
        opens_reasoning: bool = False,
        call_id: Callable[[], str] = new_call_id,
    ) -> None:
        """Begin a reply.

        Args:
            calls: their format; None where none can be made.
            reasoning: the format of thoughts; None where there are none.
            tools: the functions that are offered.
            opens_reasoning: whether the prompt ends within a thought.
            call_id: makes ids.
        """
        self._calls = calls
        self._reasoning = reasoning
        self._mode = _Mode.THOUGHT if reasoning and opens_reasoning else _Mode.TEXT
        self._deltas: list[ReplyDelta] = []
        self._writer = CallWriter(tools, call_id, self._take_call)
        self._cursor = Cursor("")
        self._reading: Reading | None = None
        self._unread = ""
        self._taken = 0
        """Characters of the reply that have come."""
        self._begun = 0
        """How many of them the client has, as text."""
        self._space = ""
        """White space that is dropped if a tag comes next."""
        self._has_begun = False
        """Content, a call, or in a thought some of it, has been passed on."""

    @property
    def malformed(self) -> str | None:
        """What is wrong with a call that could not be read; None while nothing is."""
        return self._writer.malformed

    def go_on_behind(self, begun: str) -> None:
        """Take the beginning of the reply, which the client has: only calls in it are given."""
        self._begun = len(begun)
        self._deltas = [delta for delta in self.push(begun) if delta.call is not None]

    def push(self, text: str) -> list[ReplyDelta]:
        """Take what was written; return what is certain."""
        if self._calls is None and self._reasoning is None:
            return [ReplyDelta(content=text)] if text else []
        self._unread += text
        self._taken += len(text)
        while self._advance():
            pass
        return self._given()

    def flush(self, *, is_cut: bool = False) -> list[ReplyDelta]:
        """The reply has ended, or was cut off: return what was held back."""
        while self._reading is not None:
            self._cursor.is_cut = is_cut
            self._end_call(self._reading)
            while self._advance():
                pass
        rest, self._unread = self._unread, ""
        self._write(rest)
        space = self._space[self._known(self._space) :]
        if space and self._mode is not _Mode.THOUGHT and not self._writer.count:
            self._deltas.append(ReplyDelta(content=space))
        return self._given()

    def _given(self) -> list[ReplyDelta]:
        given, self._deltas = self._deltas, []
        return _joined(given)

    def _advance(self) -> bool:
        """Read on; whether there may be more to read."""
        if self._reading is not None:
            return self._read_call(self._reading)
        if self._is_bare_call():
            self._begin_call("", self._unread[0])
            return True
        found = [
            (at, -len(tag), tag) for tag in self._tags() if (at := self._unread.find(tag)) >= 0
        ]
        if found:
            at, _, tag = min(found)
            before, self._unread = self._unread[:at], self._unread[at:]
            self._write(before)
            self._unread = self._unread[len(tag) :]
            self._enter(tag)
            return True
        at = len(self._unread) - _overlap(self._unread, self._tags())
        certain, self._unread = self._unread[:at], self._unread[at:]
        self._write(certain)
        return False

    def _tags(self) -> Sequence[str]:
        """The tags that mean something here."""
        if self._mode is _Mode.THOUGHT:
            return (self._reasoning.end,) if self._reasoning else ()
        calls = self._calls.tags if self._calls else ()
        may_think = self._reasoning is not None and not self._has_begun
        return (*calls, self._reasoning.begin) if self._reasoning and may_think else calls

    def _is_bare_call(self) -> bool:
        """Whether the reply's first characters may be a call; leading white space is put aside."""
        if self._calls is None or self._mode is not _Mode.TEXT or self._has_begun:
            return False
        stripped = self._unread.lstrip()
        if not stripped or stripped[0] not in self._calls.bare:
            return False
        if any(stripped.startswith(tag) or tag.startswith(stripped) for tag in self._tags()):
            return False
        self._space += self._unread[: len(self._unread) - len(stripped)]
        self._unread = stripped
        return True

    def _enter(self, tag: str) -> None:
        """What a tag begins or ends."""
        thought = self._reasoning
        if thought is None or tag not in thought:
            self._begin_call(tag, None)
        elif self._mode is _Mode.TEXT and self._has_begun:  # an answer may talk about the tag
            self._write(tag)
        else:
            self._mode = _Mode.THOUGHT if self._mode is _Mode.TEXT else _Mode.TEXT
            self._space, self._has_begun = "", False

    def _begin_call(self, tag: str, first: str | None) -> None:
        assert self._calls is not None
        if first is not None:
            self._unread = self._unread[1:]
        self._mode = _Mode.CALL
        self._cursor = Cursor(tag, first)
        self._reading = self._calls.read(tag, self._cursor, self._writer)
        try:
            next(self._reading)
        except StopIteration:
            self._finish_call()
        except Malformed as failure:
            self._give_back(failure)

    def _read_call(self, reading: Reading) -> bool:
        """Feed the reader; whether it has ended."""
        for index, char in enumerate(self._unread):
            try:
                reading.send(char)
            except (StopIteration, Malformed) as end:
                self._unread = self._unread[index + 1 :]
                self._give_back(end) if isinstance(end, Malformed) else self._finish_call()
                return True
        self._unread = ""
        return False

    def _end_call(self, reading: Reading) -> None:
        """Nothing more comes for the reader."""
        try:
            reading.send("")
        except StopIteration:
            self._finish_call()
        except Malformed as failure:
            self._give_back(failure)

    def _finish_call(self) -> None:
        """The reader is through; what it has read too far is text."""
        self._reading, self._mode = None, _Mode.TEXT
        self._unread = "".join(self._cursor.raw) + self._unread

    def _give_back(self, failure: Malformed) -> None:
        """What the reader has read since its last call is no call."""
        self._writer.fail(failure.reason)
        self._reading, self._mode = None, _Mode.TEXT
        text = "".join(self._cursor.raw)
        self._unread = text[1:] + self._unread
        self._write(text[:1])  # not read as a tag again

    def _take_call(self, delta: CallDelta) -> None:
        self._space, self._has_begun = "", True
        self._deltas.append(ReplyDelta(call=delta))

    def _write(self, text: str) -> None:
        """Content, or a thought in one; white space waits for what follows it.

        What is unread is what comes behind the text.
        """
        text = self._space + text
        body = text.rstrip()
        self._space = text[len(body) :]
        if not body:
            return
        margin = 0 if self._has_begun else len(body) - len(body.lstrip())
        new = body[max(margin, self._known(text)) :]
        self._has_begun = True
        is_thought = self._mode is _Mode.THOUGHT
        if new:
            self._deltas.append(ReplyDelta(reasoning=new) if is_thought else ReplyDelta(new))

    def _known(self, text: str) -> int:
        """How many characters of a text just before what is unread the client has."""
        begins = self._taken - len(self._unread) - len(text)
        return max(0, self._begun - begins)


def _joined(deltas: Sequence[ReplyDelta]) -> list[ReplyDelta]:
    """As few deltas as say the same."""
    joined: list[ReplyDelta] = []
    for delta in deltas:
        last = joined[-1] if joined else None
        if last is not None and (together := _together(last, delta)) is not None:
            joined[-1] = together
        else:
            joined.append(delta)
    return joined


def _together(one: ReplyDelta, other: ReplyDelta) -> ReplyDelta | None:
    if one.call is not None and other.call is not None:
        if other.call.name is not None:
            return None
        return ReplyDelta(
            call=one.call._replace(arguments=one.call.arguments + other.call.arguments)
        )
    if one.call is not None or other.call is not None or bool(one.content) != bool(other.content):
        return None
    return ReplyDelta(one.content + other.content, one.reasoning + other.reasoning)


def _overlap(text: str, tags: Sequence[str]) -> int:
    """Length of the longest end of the text that may be the beginning of a tag."""
    longest = max((len(tag) - 1 for tag in tags), default=0)
    for length in range(min(longest, len(text)), 0, -1):
        if any(tag.startswith(text[-length:]) for tag in tags):
            return length
    return 0
