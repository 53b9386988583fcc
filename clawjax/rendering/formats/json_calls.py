"""Calls written as JSON, read while they are written.

Repaired, because there is only one way to understand them: line breaks and the like within a
string, a comma before a closing bracket, brackets missing at the end of a reply that was not cut
off, one bracket too many. What is written in Python's way (single quotes, `True`) is read too, once
it is complete.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Generator
from typing import Any, cast

from clawjax.rendering.formats.base import CallWriter, Cursor, Malformed, Reading

__all__ = ["call_list", "call_object", "rescued", "value"]

_DEEPEST = 64
_ARGUMENTS = ("arguments", "parameters")
_HARMLESS = ("type", "id")
_ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_CLOSERS = {"{": "}", "[": "]"}
_PLAIN = frozenset("+-.0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_")
_SPACE = frozenset(" \t\r\n")
_HEX = frozenset("0123456789abcdefABCDEF")
_HIGH = re.compile(r"\\u[dD][89abAB]..")
"""The first half of a surrogate pair, as an escape."""

Put = Callable[[str], None]


def call_list(cursor: Cursor, writer: CallWriter, *, only_known: bool, closes: str = "") -> Reading:
    """`[call, call]`, or one call; see `call_object`."""
    if (yield from cursor.space()) != "[":
        yield from call_object(cursor, writer, only_known=only_known, closes=closes)
        return
    yield from cursor.take()
    while True:
        yield from cursor.space()
        yield from call_object(cursor, writer, only_known=only_known, closes=closes)
        char = yield from cursor.space()
        if cursor.is_over(closes):
            return
        yield from cursor.take()
        if char == "]":
            cursor.mark()
            return
        if char != ",":
            raise Malformed(f"{char!r} between two calls")


def call_object(
    cursor: Cursor, writer: CallWriter, *, only_known: bool, closes: str = ""
) -> Reading:
    """`{"name": ..., "arguments": {...}}`; arguments are passed on as they come, behind the name.

    Args:
        cursor: at the opening bracket.
        writer: takes the call.
        only_known: whether it is a call only if its function was offered, and otherwise text.
        closes: a character that ends what lacks its closing brackets.

    Raises:
        Malformed: it is no such object.
    """
    name: str | None = None
    arguments: str | None = None
    yield from cursor.expect("{", reason="a call is a JSON object")
    while (yield from cursor.space()) != "}":
        key = yield from _string_value(cursor)
        yield from cursor.space()
        yield from cursor.expect(":")
        char = yield from cursor.space()
        if key == "name" and name is None:
            name = yield from _string_value(cursor)
            if only_known and name not in writer.tools:
                raise Malformed(None)
        elif key in _ARGUMENTS and arguments is None and not writer.is_open:
            if name and char == "{":
                writer.begin(name, len(cursor.raw) - 1)
                yield from value(cursor, writer.write, closes=closes)
            else:
                parts: list[str] = []
                yield from value(cursor, parts.append, closes=closes)
                arguments = "".join(parts)
        elif key in _HARMLESS:
            yield from value(cursor, lambda text: None, closes=closes)
        else:
            raise Malformed(None if only_known else f"{key[:40]!r} in a call")
        char = yield from cursor.space()
        if char == "}" or cursor.is_over(closes):
            break
        yield from cursor.expect(",", reason=f"{char!r} within a call")
    if not name:
        raise Malformed(None if only_known else "a call without a name")
    if (yield from cursor.peek()) == "}":
        yield from cursor.take()
    if not writer.is_open:
        writer.begin(name)
        writer.write(_plain_arguments(arguments))
    writer.end(cursor)


def value(cursor: Cursor, put: Put, *, closes: str = "") -> Reading:
    """Any JSON value to `put`, as it is written but for repairs.

    Raises:
        Malformed: it is none.
    """
    brackets: list[str] = []
    while True:
        char = yield from _gap(cursor, put)
        if char in ("{", "["):
            if len(brackets) == _DEEPEST:
                raise Malformed(f"brackets are nested more than {_DEEPEST} deep")
            yield from cursor.take()
            put(char)
            brackets.append(char)
            if (yield from _gap(cursor, put)) != _CLOSERS[char]:
                if char == "{":
                    yield from _key(cursor, put)
                continue
        elif char == '"':
            yield from _string(cursor, put)
        else:
            put((yield from _scalar(cursor)))
        if not (yield from _is_continued(cursor, put, brackets, closes)):
            return


def _is_continued(
    cursor: Cursor, put: Put, brackets: list[str], closes: str
) -> Generator[None, str, bool]:
    """Behind a value: close what ends; whether another value follows in what does not."""
    while brackets:
        closer = _CLOSERS[brackets[-1]]
        char = yield from _gap(cursor, put)
        if char == ",":
            yield from cursor.take()
            comma = [","]
            char = yield from _gap(cursor, comma.append)
            if char != closer and not cursor.is_over(closes):
                put("".join(comma))
                if closer == "}":
                    yield from _key(cursor, put)
                return True
        if char == closer:
            yield from cursor.take()
        elif not cursor.is_over(closes):
            raise Malformed(f"{char!r} where {closer!r} or a comma belongs")
        put(closer)
        brackets.pop()
    return False


def _gap(cursor: Cursor, put: Put) -> Generator[None, str, str]:
    """Pass white space on; the next character, which is not taken."""
    put((yield from cursor.word(_SPACE.__contains__)))
    return (yield from cursor.peek())


def _key(cursor: Cursor, put: Put) -> Reading:
    yield from _string(cursor, put)
    yield from _gap(cursor, put)
    yield from cursor.expect(":")
    put(":")


def _string(cursor: Cursor, put: Put) -> Reading:
    """A string in its quotes; control characters are escaped, surrogate pairs in one piece."""
    yield from cursor.expect('"', reason="a key or a string in double quotes belongs here")
    put('"')
    high = ""
    while (char := (yield from cursor.take())) != '"':
        if char == "":
            raise Malformed("a string without its end")
        if char == "\\":
            char = yield from _escape(cursor)
        elif char < " ":
            char = json.dumps(char)[1:-1]
        if _HIGH.fullmatch(char):
            put(high)
            high = char
        else:
            put(high + char)
            high = ""
    put(high + '"')


def _escape(cursor: Cursor) -> Generator[None, str, str]:
    """What follows a backslash, with it."""
    escaped = yield from cursor.take()
    if escaped != "u":
        text = "\\" + escaped
        if escaped not in _ESCAPES:
            raise Malformed(f"{text!r} in a string")
        return text
    digits = ""
    while len(digits) < 4:
        digit = yield from cursor.take()
        if digit not in _HEX:
            raise Malformed(f"'\\u{digits}{digit}' in a string")
        digits += digit
    return f"\\u{digits}"


def _string_value(cursor: Cursor) -> Generator[None, str, str]:
    parts: list[str] = []
    yield from _string(cursor, parts.append)
    return cast(str, json.loads("".join(parts)))


def _scalar(cursor: Cursor) -> Generator[None, str, str]:
    """A number, `true`, `false` or `null`; nothing is told before it is complete."""
    word = yield from cursor.word(_PLAIN.__contains__)
    try:
        json.loads(word, parse_constant=_refuse_constant)
    except ValueError:
        shown = word or (yield from cursor.peek())
        raise Malformed(f"{shown[:40]!r} is no JSON value") from None
    return word


def _refuse_constant(word: str) -> object:
    raise ValueError(word)


def _plain_arguments(arguments: str | None) -> str:
    """Arguments as the text of an object: some models write JSON within a string."""
    decoded: object = json.loads(arguments or "{}")
    if isinstance(decoded, str):
        return decoded
    return "{}" if decoded is None else cast(str, arguments or "{}")


# --- what went wrong -----------------------------------------------------------------------------


def rescued(cursor: Cursor, writer: CallWriter, tag: str, end: str, failure: Malformed) -> Reading:
    """Read on to `end` (none: all) and understand the whole, where there is only one way to.

    Raises:
        Malformed: there is none, and no call has begun.
    """
    if end:
        stop = "" if writer.is_open else tag
        yield from cursor.until(end, keep=len(stop), stop=stop)
    else:
        yield from cursor.word(lambda char: True)
    body = "".join(cursor.raw).removeprefix(tag).removesuffix(end)
    calls = _understood(body) or []
    if writer.is_open:
        only = calls[0][1] if len(calls) == 1 else ""
        if only.startswith(writer.arguments):
            writer.write(only.removeprefix(writer.arguments))
            writer.end(cursor)
            return
        written = "".join(cursor.raw[writer.origin :]).removesuffix(end)
        writer.write(written.removeprefix(writer.arguments))
        writer.fail(failure.reason or "a call that is not complete")
    elif not calls:
        raise failure
    for name, arguments in [] if writer.malformed else calls:
        writer.begin(name)
        writer.write(arguments)
        writer.end(cursor)
    cursor.mark()


def _understood(text: str) -> list[tuple[str, str]] | None:
    """Names and arguments in a text that is JSON or Python, one call or a list of them."""
    decoded = _decoded(text)
    listed = cast("list[object]", decoded) if isinstance(decoded, list) else [decoded]
    calls = [_call_of(entry) for entry in listed]
    found = [call for call in calls if call is not None]
    return found if found and len(found) == len(calls) else None


def _decoded(text: str) -> object:
    surplus = text.strip()
    for candidate in (surplus, surplus[:-1] if surplus.endswith(("}}", "}]", "]]")) else ""):
        try:
            return json.loads(candidate, strict=False, parse_constant=_refuse_constant)
        except (ValueError, RecursionError):
            pass
        try:
            return ast.literal_eval(candidate)
        except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
            pass
    return None


def _call_of(entry: object) -> tuple[str, str] | None:
    if not isinstance(entry, dict):
        return None
    call = cast("dict[str, Any]", entry)
    if isinstance(call.get("function"), dict):
        call = cast("dict[str, Any]", call["function"])
    name = call.get("name")
    arguments = call.get("arguments", call.get("parameters"))
    if not isinstance(name, str) or not name:
        return None
    if isinstance(arguments, str):
        return name, arguments
    try:
        return name, json.dumps({} if arguments is None else arguments, ensure_ascii=False)
    except (TypeError, ValueError):
        return None
