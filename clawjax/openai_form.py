"""OpenAI's chat form of what several parts of the program write: templates, replies, exports.

Plain dictionaries, ready for JSON. The reading of that form is the gateway's (`gateway.openai`), as
only it has to mistrust what it reads.
"""

from __future__ import annotations

from typing import Any

__all__ = ["call_form"]


def call_form(call_id: str, name: str, arguments: object) -> dict[str, Any]:
    """One entry of an assistant message's `tool_calls`.

    Args:
        call_id: what a tool's result names it by.
        name: of the function.
        arguments: JSON text on the wire; most chat templates want the object itself.
    """
    function = {"name": name, "arguments": arguments}
    return {"id": call_id, "type": "function", "function": function}
