"""What a dialect is: how a request is read, and how its replies are written, whole or as events.

Owns the text form of server-sent events. Invariant: a dialect does no I/O; what it is handed is
all it knows.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from clawjax.config import EngineConfig
from clawjax.gateway.completions import Failure, Json, TokenBytes
from clawjax.gateway.openai import ChatRequest
from clawjax.gateway.parse import ReplyDelta
from clawjax.gateway.reply import Exchange, Reply
from clawjax.gateway.wire import JsonObject

__all__ = ["Asked", "Dialect", "StreamWriter", "compact", "event"]

_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_LINE_ENDS = (("\x85", "\\u0085"), ("\u2028", "\\u2028"), ("\u2029", "\\u2029"))
"""What JSON lets stand in a string, and many a client takes for the end of an event's line."""


class Asked(NamedTuple):
    """A request that has found its session and prompt."""

    request: ChatRequest
    exchange: Exchange
    token_bytes: TokenBytes
    eos_ids: frozenset[int] = frozenset()
    """Tokens that end a reply, whatever they are written as."""


class StreamWriter(Protocol):
    """The events of one stream, as text in the order they are sent. Choices grow side by side."""

    def grow(self, reply: Reply, deltas: Sequence[ReplyDelta]) -> str:
        """A choice has new tokens, of which some may be text; the first call opens the stream."""
        ...

    def finish(self, reply: Reply) -> str:
        """A choice is complete and durable."""
        ...

    def end(self, replies: Sequence[Reply]) -> str:
        """All choices are."""
        ...

    def fail(self, failure: Failure) -> str:
        """The stream breaks off, whether it was opened or not."""
        ...


@dataclass(frozen=True, slots=True)
class Dialect:
    """One wire format."""

    parse: Callable[[JsonObject, EngineConfig], ChatRequest]
    """A body to the common request; `WireError` where it cannot be understood."""
    answer: Callable[[Asked, Sequence[Reply]], Json]
    """Every choice in one body."""
    stream: Callable[[Asked], StreamWriter]


def compact(body: Json) -> str:
    """JSON as it is sent in events: one line, also to clients that split as `str.splitlines`."""
    text = _ENCODER.encode(body)
    for end, escaped in _LINE_ENDS:
        text = text.replace(end, escaped)
    return text


def event(body: Json, name: str | None = None) -> str:
    """One server-sent event, named where the dialect's clients go by names."""
    head = "" if name is None else f"event: {name}\n"
    return f"{head}data: {compact(body)}\n\n"
