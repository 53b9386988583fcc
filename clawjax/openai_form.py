"""OpenAI's chat form of what several parts of the program write: templates, replies, exports.

Plain dictionaries, ready for JSON. The reading of that form is the gateway's (`gateway.openai`), as
only it has to mistrust what it reads.
"""

from __future__ import annotations

from typing import Any

from clawjax.records import Message

__all__ = ["call_form", "message_form", "wire_text"]


def call_form(call_id: str, name: str, arguments: object) -> dict[str, Any]:
    """One entry of an assistant message's `tool_calls`.

    Args:
        call_id: what a tool's result names it by.
        name: of the function.
        arguments: JSON text on the wire; most chat templates want the object itself.
    """
    function = {"name": name, "arguments": arguments}
    return {"id": call_id, "type": "function", "function": function}


def wire_text(text: str) -> str:
    """Text as bodies can hold it: halves of surrogate pairs, which UTF-8 has not, written out."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def message_form(message: Message) -> dict[str, Any]:
    """A message without what it does not have; thoughts are no examples of what to say."""
    form: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.name is not None:
        form["name"] = message.name
    if message.tool_call_id is not None:
        form["tool_call_id"] = message.tool_call_id
    if message.tool_calls:
        form["tool_calls"] = [
            call_form(call.call_id, call.name, call.arguments) for call in message.tool_calls
        ]
    return form
