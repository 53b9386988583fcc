"""`{"name": ..., "parameters": {...}}` alone or behind `<|python_tag|>`: Llama 3.1, 3.2, 3.3.

Calls are separated by `;`. Without the tag it is a call only as the first thing in a reply, and
only if the function was offered: an answer may be JSON as well.
"""

from __future__ import annotations

import json

from clawjax.rendering.formats.base import (
    CallWriter,
    Cursor,
    Form,
    Malformed,
    Reading,
    Tools,
    calls_of,
)
from clawjax.rendering.formats.json_calls import call_object, rescued

__all__ = ["LLAMA_JSON", "LlamaJson"]


class LlamaJson:
    """`base.CallFormat`."""

    name = "llama3_json"
    tags = ("<|python_tag|>",)
    bare = "{"

    def read(self, tag: str, cursor: Cursor, writer: CallWriter) -> Reading:
        """Calls as long as they come."""
        try:
            while True:
                yield from cursor.space()
                yield from call_object(cursor, writer, only_known=not tag)
                if (yield from cursor.space()) != ";":
                    return
                yield from cursor.take()
        except Malformed as failure:
            if not writer.is_open:
                raise failure if tag else Malformed(None) from None
            yield from rescued(cursor, writer, tag, "", failure)

    def form(self, tools: Tools, *, is_one: bool) -> Form:
        """Calls without the tag."""
        return calls_of(
            tools,
            lambda name: f'{{"name": {json.dumps(name)}, "parameters": ',
            "}",
            separator="; ",
            is_one=is_one,
        )

    def written(self, name: str, arguments: str) -> str:
        """A call."""
        return f'{{"name": {json.dumps(name)}, "parameters": {arguments}}}'


LLAMA_JSON = LlamaJson()
