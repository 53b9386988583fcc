"""`{"name": ..., "arguments": {...}}`, or a list of such, alone or in a fence of Markdown.

For models that know no format of their own. It is a call only if the function was offered.
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
from clawjax.rendering.formats.hermes import closing
from clawjax.rendering.formats.json_calls import call_list, rescued

__all__ = ["PLAIN_JSON", "PlainJson", "enclosed"]

_FENCE = "```"


class PlainJson:
    """`base.CallFormat`."""

    name = "json"
    tags = (f"{_FENCE}json",)
    bare = "{["

    def read(self, tag: str, cursor: Cursor, writer: CallWriter) -> Reading:
        """One call, or a list."""
        try:
            yield from call_list(cursor, writer, only_known=True, closes=_FENCE[0] if tag else "")
        except Malformed as failure:
            if not writer.is_open:
                raise Malformed(None) from None
            yield from rescued(cursor, writer, tag, _FENCE if tag else "", failure)
        else:
            if tag:
                yield from closing(cursor, _FENCE)

    def form(self, tools: Tools, *, is_one: bool) -> Form:
        """A call, or a list of calls."""
        calls = calls_of(
            tools,
            lambda name: f'{{"name": {json.dumps(name)}, "arguments": ',
            "}",
            separator=", ",
            is_one=is_one,
        )
        return calls if is_one else enclosed("[", calls, "]")

    def written(self, name: str, arguments: str) -> str:
        """A call."""
        return f'{{"name": {json.dumps(name)}, "arguments": {arguments}}}'


PLAIN_JSON = PlainJson()


def enclosed(begin: str, form: Form, end: str) -> Form:
    """A form between two texts."""
    return {"type": "tag", "begin": begin, "content": form, "end": end}
