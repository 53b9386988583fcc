"""`<function=name><parameter=key>value</parameter></function>` within `<tool_call>`: Qwen3-Coder.

A value stands on lines of its own and is text; the function's schema says what it is of: anything
else where the schema has its type, text where it allows text or does not say. The outer tags are
left out by some models.
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Callable, Mapping
from typing import Any

from clawjax.json_schema import ANY_TYPE, is_of, types_of
from clawjax.rendering.formats.base import (
    CallWriter,
    Cursor,
    Form,
    Malformed,
    Reading,
    Tools,
    arguments_of,
    calls_of,
)
from clawjax.rendering.formats.hermes import closing

__all__ = ["QWEN_XML", "QwenXml"]

_TAG, _END = "<tool_call>", "</tool_call>"
_FUNCTION, _FUNCTION_END = "<function=", "</function>"
_PARAMETER, _PARAMETER_END = "<parameter=", "</parameter>"
_LONGEST_NAME = 256
_TEXT = frozenset({"string"})


class QwenXml:
    """`base.CallFormat`."""

    name = "qwen_xml"
    tags = (_TAG, _FUNCTION)
    bare = ""

    def read(self, tag: str, cursor: Cursor, writer: CallWriter) -> Reading:
        """One call, up to and including the outer closing tag, where there is one."""
        try:
            if tag == _TAG:
                yield from cursor.space()
                yield from cursor.expect(_FUNCTION)
            yield from _function(cursor, writer)
        except Malformed as failure:
            if not writer.is_open:
                raise
            yield from cursor.until(_FUNCTION_END)
            writer.fail(failure.reason)
            cursor.mark()
        if tag == _TAG:
            yield from closing(cursor, _END)
        else:
            yield from _stray_end(cursor)

    def form(self, tools: Tools, *, is_one: bool) -> Form:
        """Calls one below the other."""
        return calls_of(
            tools,
            lambda name: f"{_TAG}\n{_FUNCTION}{name}>\n",
            f"{_FUNCTION_END}\n{_END}",
            separator="\n",
            is_one=is_one,
            content=lambda schema: {"type": "qwen_xml_parameter", "json_schema": schema},
        )

    def written(self, name: str, arguments: str) -> str:
        """A call; what is no text is JSON."""
        lines = [
            f"{_PARAMETER}{key}>\n{value if isinstance(value, str) else json.dumps(value)}\n"
            f"{_PARAMETER_END}\n"
            for key, value in arguments_of(arguments).items()
        ]
        return f"{_TAG}\n{_FUNCTION}{name}>\n{''.join(lines)}{_FUNCTION_END}\n{_END}"


QWEN_XML = QwenXml()


def _function(cursor: Cursor, writer: CallWriter) -> Reading:
    """What follows `<function=`, up to and including `</function>`."""
    name = yield from _name(cursor)
    schema = writer.tools.get(name, {})
    yield from cursor.space()
    yield from cursor.expect("<")
    is_first = True
    while (yield from cursor.peek()) != "/":
        yield from cursor.expect(_PARAMETER[1:])
        key = yield from _name(cursor)
        if is_first:
            writer.begin(name)
            writer.write("{")
        else:
            writer.write(", ")
        is_first = False
        writer.write(f"{json.dumps(key, ensure_ascii=False)}: ")
        yield from _value(cursor, writer.write, _types(schema, key))
        yield from cursor.space()
        yield from cursor.expect("<")
    yield from cursor.expect(_FUNCTION_END[1:])
    if is_first:
        writer.begin(name)
        writer.write("{")
    writer.write("}")
    writer.end(cursor)


def _name(cursor: Cursor) -> Any:
    """A name and the `>` behind it."""
    name = yield from cursor.word(lambda char: char not in "<>\n")
    if not 0 < len(name) <= _LONGEST_NAME:
        raise Malformed("a function or a parameter without a name")
    yield from cursor.expect(">")
    return name.strip()


def _value(cursor: Cursor, put: Callable[[str], None], types: frozenset[str]) -> Reading:
    """A value to `put` as JSON: text as it comes, anything else once it is complete."""
    if (yield from cursor.peek()) == "\n":
        yield from cursor.take()
    if types in (_TEXT, ANY_TYPE):
        put('"')
        left = yield from cursor.until(_PARAMETER_END, lambda text: put(_escaped(text)), keep=1)
        ending = '"'
    else:
        left, ending = (yield from cursor.until(_PARAMETER_END, keep=sys.maxsize)), ""
    if left is None:
        raise Malformed(f"{_PARAMETER} without {_PARAMETER_END}")
    text = left.removesuffix("\n")
    put(_escaped(text) + ending if ending else _converted(text, types))


def _stray_end(cursor: Cursor) -> Reading:
    """An outer closing tag without its opening one, if there is one; other text stays."""
    try:
        yield from cursor.space()
        yield from cursor.expect(_END)
    except Malformed:
        return
    cursor.mark()


def _escaped(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]


def _types(schema: Mapping[str, Any], key: str) -> frozenset[str]:
    """The JSON types that a parameter may have."""
    properties = schema.get("properties")
    return types_of(properties.get(key) if isinstance(properties, Mapping) else None, schema)


def _converted(text: str, types: frozenset[str]) -> str:
    """The value as JSON, of another type than text if there may be text; else as text."""
    wanted = types - _TEXT if types >= _TEXT else ANY_TYPE
    for load in (json.loads, ast.literal_eval):
        try:
            value = load(text.strip())
            if any(is_of(value, name) for name in wanted):
                return json.dumps(value, ensure_ascii=False, allow_nan=False)
        except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
            continue
    return json.dumps(text, ensure_ascii=False)
