"""A value against a JSON schema: the subset that the tools of agents use.

`type`, `enum`, `required`, `properties`, `items` and `additionalProperties: false`; other keywords
are not looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["schema_problem", "with_whole_numbers"]

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "number": (int, float),
    "integer": (int,),
    "boolean": (bool,),
    "null": (type(None),),
}


def schema_problem(value: Any, schema: Any, where: str = "arguments") -> str | None:
    """What is wrong with a value; None where nothing is.

    A schema may be a boolean; a keyword whose own value is malformed is not looked at.
    """
    if not isinstance(schema, Mapping):
        return f"{where} may not be there" if schema is False else None
    kinds = schema.get("type")
    names = [kinds] if isinstance(kinds, str) else [*kinds] if isinstance(kinds, list) else []
    if names and not any(_is(value, name) for name in names):
        return f"{where} should be of type {' or '.join(names)}, not {value!r:.60}"
    allowed = schema.get("enum")
    if isinstance(allowed, list) and value not in allowed:
        return f"{where}={value!r:.60} is none of {allowed}"
    if isinstance(value, dict):
        return _object_problem(value, schema, where)
    if isinstance(value, list) and isinstance(schema.get("items"), Mapping | bool):
        found = (
            schema_problem(each, schema["items"], f"{where}[{i}]") for i, each in enumerate(value)
        )
        return next((problem for problem in found if problem), None)
    return None


def with_whole_numbers(value: Any) -> Any:
    """The same with 3 for 3.0, within objects and arrays too: JSON has one kind of number."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Mapping):
        return {key: with_whole_numbers(each) for key, each in value.items()}
    return [with_whole_numbers(each) for each in value] if isinstance(value, list) else value


def _object_problem(value: dict[str, Any], schema: Mapping[str, Any], where: str) -> str | None:
    said, required = schema.get("properties"), schema.get("required")
    properties: Mapping[str, Any] = said if isinstance(said, Mapping) else {}
    for name in required if isinstance(required, list) else ():
        if name not in value:
            return f"{where} lacks {name!r}"
    for name, each in value.items():
        if name not in properties:
            if schema.get("additionalProperties") is False:
                return f"{where} has no {name!r}: use {', '.join(properties) or 'none'}"
            continue
        problem = schema_problem(each, properties[name], f"{where}.{name}")
        if problem:
            return problem
    return None


def _is(value: Any, name: str) -> bool:
    if name in ("number", "integer") and isinstance(value, bool):
        return False
    if name == "integer" and isinstance(value, float):
        return value.is_integer()  # JSON has one kind of number: 3.0 is 3
    return name not in _TYPES or isinstance(value, _TYPES[name])
