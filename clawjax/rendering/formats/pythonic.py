"""`[f(a=1, b="x"), g()]`: Llama 3.2 and 4, and others that call as Python does.

Without a tag it is a call only as the first thing in a reply, and only if the function was offered.
Values are JSON, as replies that have to call something write them, or Python's literals; in these,
JSON's `true`, `false` and `null` are understood, too.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Generator
from typing import cast

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

__all__ = ["PYTHONIC", "Pythonic"]

_BRACKETS = {"(": ")", "[": "]", "{": "}"}
_JSON_NAMES = {"true": True, "false": False, "null": None}


class Pythonic:
    """`base.CallFormat`."""

    name = "llama3_pythonic"
    tags = ("<|python_start|>", "<|python_tag|>")
    bare = "["

    def read(self, tag: str, cursor: Cursor, writer: CallWriter) -> Reading:
        """A list of calls."""
        try:
            yield from cursor.space()
            yield from cursor.expect("[", reason="calls are a list")
            while (yield from _call(cursor, writer, only_known=not tag)):
                pass
            if tag == self.tags[0]:
                yield from _closing(cursor)
        except Malformed as failure:
            if not writer.is_open:
                raise failure if tag else Malformed(None) from None
            yield from cursor.word(lambda char: True)
            writer.write("".join(cursor.raw))
            writer.fail(failure.reason or "a call that is not complete")
            cursor.mark()

    def form(self, tools: Tools, *, is_one: bool) -> Form:
        """A list of calls with all required arguments in their order."""
        calls = calls_of(
            tools,
            lambda name: f"{name}(",
            ")",
            separator=", ",
            is_one=is_one,
            content=_arguments_form,
        )
        return {"type": "tag", "begin": "[", "content": calls, "end": "]"}

    def written(self, name: str, arguments: str) -> str:
        """A call."""
        given = ", ".join(f"{key}={value!r}" for key, value in arguments_of(arguments).items())
        return f"[{name}({given})]"


PYTHONIC = Pythonic()


def _call(cursor: Cursor, writer: CallWriter, *, only_known: bool) -> Generator[None, str, bool]:
    """One call; whether another follows. Its arguments are marked as they are written."""
    yield from cursor.space()
    name = yield from cursor.word(lambda char: char.isalnum() or char in "_-.")
    if not name or (only_known and name not in writer.tools):
        raise Malformed(None if only_known else "a call without a name")
    yield from cursor.expect("(", reason=None if only_known else "a call without brackets")
    writer.begin(name)
    writer.write("{")
    cursor.mark()
    is_first = True
    while (yield from cursor.space()) != ")" and not cursor.is_over(""):
        key = yield from cursor.word(lambda char: char.isalnum() or char == "_")
        yield from cursor.space()
        yield from cursor.expect("=", reason="an argument without a name")
        text = yield from _literal(cursor)
        writer.write(f"{'' if is_first else ', '}{json.dumps(key)}: {_converted(text)}")
        cursor.mark()
        is_first = False
        if (yield from cursor.peek()) == ",":
            yield from cursor.take()
    yield from cursor.take()
    writer.write("}")
    writer.end(cursor)
    char = yield from cursor.space()
    if char not in (",", "]") and not cursor.is_over(""):
        raise Malformed(f"{char!r} between two calls")
    yield from cursor.take()
    cursor.mark()
    return char == ","


def _literal(cursor: Cursor) -> Generator[None, str, str]:
    """The text of a value, up to the comma or the bracket behind it."""
    text: list[str] = []
    closers: list[str] = []
    while char := (yield from cursor.peek()):
        if not closers and char in ",)":
            break
        text.append((yield from cursor.take()))
        if char in "'\"":
            yield from _quoted(cursor, char, text)
        elif char in _BRACKETS:
            closers.append(_BRACKETS[char])
        elif closers and char == closers[-1]:
            closers.pop()
    return "".join(text).strip()


def _quoted(cursor: Cursor, quote: str, text: list[str]) -> Reading:
    while char := (yield from cursor.take()):
        text.append(char)
        if char == quote:
            return
        if char == "\\":
            text.append((yield from cursor.take()))
    raise Malformed("a string without its end")


def _converted(text: str) -> str:
    """A literal as JSON.

    JSON comes first: of what both take, Python reads some otherwise than JSON's writers mean it
    (a slash behind a backslash, surrogate pairs).

    Raises:
        Malformed: it is none.
    """
    for load in (json.loads, _python):
        try:
            return json.dumps(load(text), ensure_ascii=False, allow_nan=False)
        except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
            continue
    raise Malformed(f"{text[:40]!r} is no value")


def _python(text: str) -> object:
    """The value of a literal.

    Raises:
        ValueError: it is none; so says any other error of Python's parser.
    """
    return ast.literal_eval(_JsonNames().visit(ast.parse(text, mode="eval")))


class _JsonNames(ast.NodeTransformer):
    """What JSON calls by other names than Python."""

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return ast.Constant(_JSON_NAMES[node.id]) if node.id in _JSON_NAMES else node


def _closing(cursor: Cursor) -> Reading:
    try:
        yield from cursor.space()
        yield from cursor.expect("<|python_end|>")
    except Malformed:
        return
    cursor.mark()


def _arguments_form(schema: Form) -> Form:
    """`a=..., b=...`, the optional ones left out where others are required."""
    properties = cast("dict[str, object]", schema.get("properties") or {})
    required = [name for name in properties if name in (schema.get("required") or ())]
    elements: list[Form] = []
    for name in required or properties:
        elements.append({"type": "const_string", "value": f"{', ' * bool(elements)}{name}="})
        elements.append({"type": "json_schema", "json_schema": properties[name]})
    for name in properties if required else ():
        if name not in required:
            given: list[Form] = [
                {"type": "const_string", "value": f", {name}="},
                {"type": "json_schema", "json_schema": properties[name]},
            ]
            nothing = {"type": "const_string", "value": ""}
            elements.append(
                {"type": "or", "elements": [nothing, {"type": "sequence", "elements": given}]}
            )
    return {"type": "sequence", "elements": elements}
