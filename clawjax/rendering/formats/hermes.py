"""`<tool_call>{"name": ..., "arguments": {...}}</tool_call>`: Hermes, Qwen2.5, Qwen3, SmolLM.

Some models put a list of calls between the tags, or leave the closing tag out at the end.
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
from clawjax.rendering.formats.json_calls import call_list, rescued

__all__ = ["HERMES", "Hermes", "closing"]

_TAG, _END = "<tool_call>", "</tool_call>"


class Hermes:
    """`base.CallFormat`."""

    name = "hermes"
    tags = (_TAG,)
    bare = ""

    def read(self, tag: str, cursor: Cursor, writer: CallWriter) -> Reading:
        """One call, or a list, up to and including the closing tag."""
        try:
            yield from call_list(cursor, writer, only_known=False, closes="<")
        except Malformed as failure:
            yield from rescued(cursor, writer, tag, _END, failure)
        else:
            yield from closing(cursor, _END)

    def form(self, tools: Tools, *, is_one: bool) -> Form:
        """Calls one below the other."""
        return calls_of(
            tools,
            lambda name: f'{_TAG}\n{{"name": {json.dumps(name)}, "arguments": ',
            f"}}\n{_END}",
            separator="\n",
            is_one=is_one,
        )

    def written(self, name: str, arguments: str) -> str:
        """A call between its tags."""
        return f'{_TAG}\n{{"name": {json.dumps(name)}, "arguments": {arguments}}}\n{_END}'


HERMES = Hermes()


def closing(cursor: Cursor, end: str) -> Reading:
    """The closing tag, behind brackets too many; one that is cut off or missing at the end counts.

    Raises:
        Malformed: something else follows the call.
    """
    try:
        yield from cursor.word(lambda char: char.isspace() or char in "}]")
        yield from cursor.expect(end, reason=f"text between a call and {end}")
    except Malformed:
        if not cursor.is_at_end:
            raise
    cursor.mark()
