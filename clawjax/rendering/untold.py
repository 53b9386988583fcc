"""What chat templates do with tools and instructions, and tools for those that do not know them.

These are told in the system message, as text. What the template would leave out is written in the
format that replies are read by, so a model sees its earlier calls and their results as it wrote and
got them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace

from clawjax.errors import WireError
from clawjax.records import Message
from clawjax.rendering.formats.base import CallFormat

__all__ = ["as_told", "knows_tools", "moves_the_told"]

_PROBE = "zqtool"
_TOOLS_JSON = json.dumps(
    [
        {
            "type": "function",
            "function": {"name": _PROBE, "description": "d", "parameters": {"type": "object"}},
        }
    ]
)


def knows_tools(render: Callable[[Sequence[Message], str | None], str]) -> bool:
    """Whether a template tells the model about tools; one that refuses the question does."""
    try:
        return _PROBE in render((Message("user", "a"),), _TOOLS_JSON)
    except WireError:
        return True


def moves_the_told(render: Callable[[Sequence[Message], str | None], str]) -> bool:
    """Whether a template shows tools or instructions before the newest message of the user's.

    Then what stands before a reply changes when the user goes on, as for most of Mistral's models.
    """
    said = (Message("user", "a"), Message("assistant", "zqreply"), Message("user", "b"))
    for messages, tools_json in (
        (said, _TOOLS_JSON),
        ((Message("system", _PROBE), *said), None),
    ):
        try:
            if _PROBE in render(messages, tools_json).partition("zqreply")[2]:
                return True
        except WireError:
            continue
    return False


def as_told(
    messages: Sequence[Message], tools_json: str | None, calls: CallFormat
) -> tuple[Message, ...]:
    """Messages that say with text what tools there are, what was called and what came of it.

    Args:
        messages: the conversation.
        tools_json: what may be called now; None where nothing may: then calls in a last message,
            which nothing has come of, are left to the template.
        calls: how the model writes calls.

    Raises:
        WireError: the tools are no list of functions.
    """
    told = tuple(_as_text(message, calls) for message in messages)
    if tools_json is None:
        return (*told[:-1], messages[-1]) if messages and messages[-1].tool_calls else told
    is_led = bool(told) and told[0].role == "system"
    first, rest = (told[0].content, told[1:]) if is_led else ("", told)
    return (Message("system", f"{first}\n\n{_said(tools_json, calls)}".strip()), *rest)


def _said(tools_json: str, calls: CallFormat) -> str:
    functions = "\n".join(map(json.dumps, _functions(tools_json)))
    example = calls.written("NAME", '{"ARGUMENT": "VALUE"}')
    return f"You can call these functions:\n{functions}\nTo call one, write:\n{example}"


def _functions(tools_json: str) -> list[object]:
    """What can be called; some data sets name functions without saying that they are tools."""
    try:
        return [tool.get("function", tool) for tool in json.loads(tools_json)]
    except (ValueError, TypeError, AttributeError) as error:
        msg = f"tools are no list of functions ({error}): send a list of function tools"
        raise WireError(msg, code="invalid_tools", param="tools") from error


def _as_text(message: Message, calls: CallFormat) -> Message:
    if message.role == "tool":
        return Message("user", f"<tool_response>\n{message.content}\n</tool_response>")
    if not message.tool_calls:
        return message
    written = [calls.written(call.name, call.arguments) for call in message.tool_calls]
    content = "\n".join(filter(None, [message.content, *written]))
    return replace(message, content=content, tool_calls=())
