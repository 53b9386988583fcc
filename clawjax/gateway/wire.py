"""Typed reading of untrusted JSON.

Owns the wording of "wrong type" and "out of range": every message names the field, what was found
and what is expected. An absent key and an explicit null are the same thing: `None`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import NoReturn, cast

from clawjax.errors import WireError
from clawjax.texts import whole, whole_json

__all__ = [
    "MOST_NESTED",
    "JsonObject",
    "as_json_text",
    "as_object",
    "as_text",
    "json_type",
    "parse_object",
    "read_flag",
    "read_integer",
    "read_list",
    "read_number",
    "read_text",
    "reject",
    "storable",
    "whole",
]

JsonObject = Mapping[str, object]

MOST_NESTED = 128
"""Levels of a body: what templates, grammars and redaction walk through is bounded by it."""
_SHOWN_CHARACTERS = 40
_TRUE_WORDS = ("1", "true", "yes", "on")
_FALSE_WORDS = ("", "0", "false", "no", "off")


def reject(field: str, message: str, *, code: str = "invalid_value") -> NoReturn:
    """Refuse the request because of one field."""
    raise WireError(f"{field}: {message}", param=field, code=code)


def json_type(value: object) -> str:
    """JSON's name for the type of a decoded value."""
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
        case _:
            return "object"


def parse_object(body: bytes) -> JsonObject:
    """Decode a request body.

    Raises:
        WireError: not JSON, not UTF-8, or not an object.
    """
    try:
        decoded: object = json.loads(body, parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        msg = f"the body is not valid UTF-8 (byte {error.start}): send JSON in UTF-8"
        raise WireError(msg, code="invalid_json") from error
    except json.JSONDecodeError as error:
        msg = (
            f"the body is not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}"
        )
        raise WireError(msg, code="invalid_json") from error
    except (RecursionError, ValueError) as error:
        msg = "the body is not usable JSON: it is nested too deeply or has a number too long"
        raise WireError(msg, code="invalid_json") from error
    if _is_deeper(decoded, MOST_NESTED):
        msg = f"the body is nested more than {MOST_NESTED} levels deep: send a flatter one"
        raise WireError(msg, code="invalid_json")
    return as_object(decoded, "body")


def _is_deeper(value: object, limit: int) -> bool:
    """Whether containers are within containers more often than that; needs no stack itself."""
    level: list[object] = [value] if isinstance(value, dict | list) else []
    for _ in range(limit):
        level = [
            inner for outer in level for inner in _entries(outer) if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True


def _entries(container: object) -> Iterable[object]:
    if isinstance(container, dict):
        return cast("dict[str, object]", container).values()
    return cast("list[object]", container)


def _refuse_constant(name: str) -> NoReturn:
    msg = f"{name} is not JSON (RFC 8259): leave the field out, or send a number"
    raise WireError(msg, code="invalid_json")


def as_object(value: object, field: str) -> JsonObject:
    """The value as an object, or a refusal."""
    if not isinstance(value, dict):
        _wrong_type(field, value, "an object")
    return cast(JsonObject, value)


def as_text(value: object, field: str) -> str:
    """The value as a string, or a refusal; halves of surrogate pairs are replaced."""
    if not isinstance(value, str):
        _wrong_type(field, value, "a string")
    return whole(value)


def as_json_text(value: object, field: str) -> str:
    """The same for JSON within a string."""
    return whole_json(as_text(value, field))


def storable(text: str, field: str) -> str:
    """The text, or a refusal of what PostgreSQL's text columns do not take."""
    if "\0" in text:
        reject(field, "has the character NUL: send it without")
    return text


def read_text(body: JsonObject, name: str, *, field: str | None = None) -> str | None:
    """An optional string."""
    value = body.get(name)
    return None if value is None else as_text(value, field or name)


def read_list(body: JsonObject, name: str, *, field: str | None = None) -> list[object] | None:
    """An optional array."""
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, list):
        _wrong_type(field or name, value, "an array")
    return cast("list[object]", value)


def read_number(body: JsonObject, name: str, low: float, high: float) -> float | None:
    """An optional number in a closed range."""
    value = body.get(name)
    if value is None:
        return None
    expected = f"a number from {low:g} to {high:g}"
    if isinstance(value, bool) or not isinstance(value, int | float):
        _wrong_type(name, value, expected)
    if not low <= value <= high:
        reject(name, f"{_shown(value)} is out of range: expected {expected}")
    return float(value)


def read_integer(body: JsonObject, name: str, low: int, high: int | None = None) -> int | None:
    """An optional integer of at least `low` and at most `high`."""
    value = body.get(name)
    if value is None:
        return None
    expected = f"an integer of at least {low}" + ("" if high is None else f" and at most {high}")
    if isinstance(value, bool) or not isinstance(value, int):
        _wrong_type(name, value, expected)
    if value < low or (high is not None and value > high):
        reject(name, f"{_shown(value)} is out of range: expected {expected}")
    return value


def read_flag(body: JsonObject, name: str) -> bool | None:
    """An optional boolean; 0, 1 and words such as "true" and "off" count too."""
    value = body.get(name)
    if value is None:
        return None
    word = str(value).strip().lower() if isinstance(value, str | int) else None
    if word in _TRUE_WORDS:
        return True
    if word in _FALSE_WORDS:
        return False
    _wrong_type(name, value, "a boolean")


def _wrong_type(field: str, value: object, expected: str) -> NoReturn:
    shown = "" if isinstance(value, list | dict) or value is None else f" {_shown(value)}"
    reject(field, f"got {json_type(value)}{shown}, expected {expected}", code="invalid_type")


def _shown(value: object) -> str:
    try:
        text = json.dumps(value)
    except ValueError:  # an integer too long to print
        return "(a very long number)"
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."
