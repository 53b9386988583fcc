"""Messages of files, in OpenAI's chat form: read with mistrust, written without thoughts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from clawjax.errors import DataError
from clawjax.records import Message, ToolCall

__all__ = ["as_messages", "message_of"]

_ROLES = ("system", "developer", "user", "assistant", "tool")


def message_of(form: object) -> Message:
    """One message.

    Raises:
        DataError: no message in OpenAI's form, of text.
    """
    if not isinstance(form, Mapping) or form.get("role") not in _ROLES:
        msg = f"a message has to be an object with a role of {', '.join(_ROLES)}: {_short(form)}"
        raise DataError(msg)
    calls = form.get("tool_calls") or ()
    return Message(
        role=form["role"],
        content=_text(form.get("content")),
        tool_calls=tuple(map(_call_of, calls)),
        tool_call_id=form.get("tool_call_id"),
        name=form.get("name"),
    )


def as_messages(value: object, *, role: str) -> tuple[Message, ...]:
    """A list of messages, or a text, which is one message of `role`.

    Raises:
        DataError: neither.
    """
    if isinstance(value, str):
        return (Message(role, value),)
    if isinstance(value, Sequence):
        return tuple(map(message_of, value))
    msg = f"messages have to be a list or a text: {_short(value)}"
    raise DataError(msg)


def _text(content: object) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, Sequence):
        return "".join(map(_part, content))
    msg = f"a message's content has to be a text or a list of text parts: {_short(content)}"
    raise DataError(msg)


def _part(part: object) -> str:
    if isinstance(part, Mapping) and part.get("type") == "text" and isinstance(part["text"], str):
        return part["text"]
    msg = f"only text can be learnt from, not this part of a message: {_short(part)}"
    raise DataError(msg)


def _call_of(form: object) -> ToolCall:
    function = form.get("function") if isinstance(form, Mapping) else None
    if not isinstance(form, Mapping) or not isinstance(function, Mapping):
        msg = f"a tool call has to be an object with a function: {_short(form)}"
        raise DataError(msg)
    arguments = function.get("arguments", "{}")
    if not isinstance(arguments, str):
        arguments = json.dumps(arguments, ensure_ascii=False)
    return ToolCall(str(form.get("id", "")), str(function.get("name", "")), arguments)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
