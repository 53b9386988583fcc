"""Sessions of OpenClaw as its requests reached a gateway, and the prompts they make.

`data/openclaw_sessions.json.xz` was recorded from OpenClaw 2026.9.6, set up and talked with as by
`clients/recipes/openclaw.py`, on 27 November 2026: two sessions, of five and three requests, with
all messages and tools. Only paths and names of the machine are replaced. OpenClaw is MIT-licensed.
"""

from __future__ import annotations

import json
import lzma
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from clawjax.gateway.render import Renderer, Tokenizer
from clawjax.records import Message, ToolCall

__all__ = [
    "RECORDED",
    "Request",
    "known_before",
    "more_sessions",
    "prompts",
    "recorded_sessions",
    "without_middle",
]

RECORDED = Path(__file__).parent / "data" / "openclaw_sessions.json.xz"

Prompt = tuple[int, ...]

_NAME = "heron"
"""Of the first session, in what was said."""


class Request(NamedTuple):
    """What a request sends."""

    messages: tuple[Message, ...]
    tools_json: str | None


def recorded_sessions() -> list[list[Request]]:
    """Requests by session, in order."""
    with lzma.open(RECORDED, "rt", encoding="utf-8") as file:
        recorded: dict[str, Any] = json.load(file)
    return [
        [Request(tuple(map(_message, messages)), recorded["tools_json"]) for messages in session]
        for session in recorded["sessions"]
    ]


def more_sessions(names: Sequence[str]) -> list[list[Request]]:
    """The first recorded session as others would have had it: by other names, the rest the same."""
    first = recorded_sessions()[0]
    return [[_renamed(request, name) for request in first] for name in names]


def _renamed(request: Request, name: str) -> Request:
    messages = tuple(
        replace(message, content=message.content.replace(_NAME, name))
        for message in request.messages
    )
    return request._replace(messages=messages)


def prompts(sessions: Sequence[Sequence[Request]], tokenizer: Tokenizer) -> list[list[Prompt]]:
    """What a model of this tokenizer reads."""
    renderer = Renderer(tokenizer)
    return [[renderer.prompt(*request, None) for request in session] for session in sessions]


def without_middle(sessions: Sequence[Sequence[Prompt]], longest: int) -> list[list[Prompt]]:
    """The same prompts, none longer than `longest`: each without the same tokens.

    These are taken out of what all prompts begin with, behind its first half, so that prompts share
    what they shared before, less what was taken.

    Raises:
        ValueError: what all begin with is too short for that.
    """
    every = [prompt for session in sessions for prompt in session]
    surplus = max(0, max(map(len, every)) - longest)
    common = min(_shared(every[0], prompt) for prompt in every)
    if surplus >= common:
        msg = f"{surplus} tokens are to go, and all prompts share only {common}"
        raise ValueError(msg)
    at = (common - surplus) // 2
    return [[(*p[:at], *p[at + surplus :]) for p in session] for session in sessions]


def known_before(played: Sequence[Prompt]) -> Iterator[int]:
    """Of each prompt, how many tokens an earlier one began with as well: all that could be reused.

    One token is always left to be read.
    """
    for index, prompt in enumerate(played):
        shared = (_shared(earlier, prompt[:-1]) for earlier in played[:index])
        yield max(shared, default=0)


def _shared(one: Prompt, other: Prompt) -> int:
    size = min(len(one), len(other))
    differs = np.not_equal(one[:size], other[:size])
    return int(differs.argmax()) if differs.any() else size


def _message(entry: dict[str, Any]) -> Message:
    calls = tuple(ToolCall(**call) for call in entry.get("tool_calls", ()))
    return Message(**{**entry, "tool_calls": calls})
