"""A turn as a step of an episode: what was called before, with what result, and what it calls.

Owns the reading of conversations as episodes: one begins with the last message of the user. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from clawjax.records import Message, NextState, ToolCall, Turn
from clawjax.review.episodes import begin_of
from clawjax.rewards.evidence import MAX_CHARS, ends_of

__all__ = ["Called", "Episode", "arguments_of", "episode_of", "key_of"]


class Called(NamedTuple):
    """A call and what came of it."""

    call: ToolCall
    result: str | None
    """None where no result is known."""


class Episode(NamedTuple):
    """Everything about a step that its labels are made of."""

    known: str
    """What the conversation said before this step but for the results of the step before."""
    earlier: tuple[tuple[Called, ...], ...]
    """The steps before, each with its calls."""
    said: tuple[str, ...]
    """What the assistant said with each of these."""
    text: str
    """What it says now."""
    calls: tuple[Called, ...]
    """What it calls now."""
    is_malformed: bool
    """A call of it could not be read."""
    tools: Mapping[str, Any] | None
    """JSON schema of the arguments by the name of each tool offered; None where that is not
    known."""


def episode_of(turn: Turn, next_state: NextState) -> Episode:
    """Read the step that a turn is."""
    messages = turn.messages
    began = begin_of(messages)
    results = _results(messages[began:])
    steps = [m for m in messages[began:] if m.role == "assistant"]
    last = began + max(
        (i for i, m in enumerate(messages[began:]) if m.role == "assistant"), default=0
    )
    return Episode(
        known="\n".join(map(_words, messages[:last])),
        earlier=tuple(_called(m.tool_calls, results) for m in steps),
        said=tuple(m.content for m in steps),
        text=turn.reply.content,
        calls=_called(turn.reply.tool_calls, _results(next_state.messages)),
        is_malformed=turn.reply.malformed is not None,
        tools=_tools(turn.tools_json),
    )


def arguments_of(call: ToolCall) -> dict[str, Any] | None:
    """The arguments decoded; None where they are no JSON object."""
    try:
        decoded = json.loads(call.arguments or "{}")
    except ValueError:
        return None
    return decoded if isinstance(decoded, dict) else None


def key_of(call: ToolCall) -> str:
    """Equal for calls of the same tool with the same arguments, however these are written."""
    decoded = arguments_of(call)
    arguments = call.arguments if decoded is None else json.dumps(decoded, sort_keys=True)
    return f"{call.name} {arguments}"


def _called(calls: Sequence[ToolCall], results: Mapping[str, str]) -> tuple[Called, ...]:
    return tuple(Called(call, results.get(call.call_id)) for call in calls)


def _results(messages: Sequence[Message]) -> dict[str, str]:
    return {
        m.tool_call_id: ends_of(m.content, MAX_CHARS)
        for m in messages
        if m.role == "tool" and m.tool_call_id
    }


def _words(message: Message) -> str:
    return " ".join([message.content, *(call.arguments for call in message.tool_calls)])


def _tools(tools_json: str | None) -> dict[str, Any] | None:
    """As OpenAI's chat API lists them, with or without the wrapping `function`."""
    if tools_json is None:
        return None
    found = {}
    for tool in json.loads(tools_json):
        function = tool.get("function", tool) if isinstance(tool, dict) else {}
        if isinstance(function, dict) and isinstance(function.get("name"), str):
            found[function["name"]] = function.get("parameters")
    return found
