"""`[TOOL_CALLS]` and what follows it: Mistral.

Up to tokenizer v7 a list, `[TOOL_CALLS] [{"name": ..., "arguments": {...}}]`; from v11 on each call
has its own, `[TOOL_CALLS]name[ARGS]{...}` or `[TOOL_CALLS]name{...}`.
Source: mistral-common, `tokens/tokenizers/instruct.py`.
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
from clawjax.rendering.formats.json_calls import call_list, rescued, value
from clawjax.rendering.formats.plain_json import PLAIN_JSON, enclosed

__all__ = ["MISTRAL", "MISTRAL_ARGS", "Mistral"]

_TAG, _ID, _ARGS = "[TOOL_CALLS]", "[CALL_ID]", "[ARGS]"


class Mistral:
    """`base.CallFormat`; both forms are read, `has_args` says which one is written."""

    name = "mistral"
    tags = (_TAG,)
    bare = ""

    def __init__(self, *, has_args: bool) -> None:
        """Say how calls are written."""
        self._has_args = has_args

    def read(self, tag: str, cursor: Cursor, writer: CallWriter) -> Reading:
        """A list of calls, or one."""
        try:
            if (yield from cursor.space()) in ("[", "{"):
                yield from call_list(cursor, writer, only_known=False)
            else:
                yield from _named(cursor, writer)
        except Malformed as failure:
            yield from rescued(cursor, writer, tag, "", failure)

    def form(self, tools: Tools, *, is_one: bool) -> Form:
        """A list, or calls one after the other."""
        if not self._has_args:
            calls = PLAIN_JSON.form(tools, is_one=is_one)
            return enclosed(f"{_TAG} ", enclosed("[", calls, "]") if is_one else calls, "")
        return calls_of(tools, lambda name: f"{_TAG}{name}{_ARGS}", "", separator="", is_one=is_one)

    def written(self, name: str, arguments: str) -> str:
        """A call."""
        if self._has_args:
            return f"{_TAG}{name}{_ARGS}{arguments}"
        return f'{_TAG} [{{"name": {json.dumps(name)}, "arguments": {arguments}}}]'


MISTRAL, MISTRAL_ARGS = Mistral(has_args=False), Mistral(has_args=True)


def _named(cursor: Cursor, writer: CallWriter) -> Reading:
    """A name, maybe an id, and an object."""
    name = yield from cursor.word(lambda char: char.isalnum() or char in "_-.")
    if not name:
        raise Malformed(f"{_TAG} without a name")
    if (yield from cursor.space()) == "[":
        yield from cursor.take()
        if (yield from cursor.peek()) == _ID[1]:
            yield from cursor.expect(_ID[1:])
            yield from cursor.word(str.isalnum)
            yield from cursor.expect("[")
        yield from cursor.expect(_ARGS[1:])
    if (yield from cursor.space()) != "{":
        raise Malformed(f"{_TAG}{name[:40]} without its arguments")
    writer.begin(name, len(cursor.raw) - 1)
    yield from value(cursor, writer.write)
    writer.end(cursor)
