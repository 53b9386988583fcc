"""Whether arguments fit the JSON schema of a tool, as far as tools' schemas usually go.

Owns a subset: `type`, `enum`, `const`, `properties`, `required`, `additionalProperties: false`,
`items`. What it does not know it lets pass, so that nothing is called wrong that may be right.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["violations"]

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}


def violations(value: Any, schema: Any, *, where: str = "arguments") -> Iterator[str]:
    """What is wrong with a decoded JSON value, in words; nothing where it fits."""
    if not isinstance(schema, Mapping):
        return
    wanted = schema.get("type")
    if not _is_of(value, wanted):
        yield f"{where} is no {wanted}"
        return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{where} is none of {schema['enum']}"
    if "const" in schema and value != schema["const"]:
        yield f"{where} is not {schema['const']}"
    if isinstance(value, dict):
        yield from _of_object(value, schema, where)
    if isinstance(value, list):
        for number, each in enumerate(value):
            yield from violations(each, schema.get("items"), where=f"{where}[{number}]")


def _of_object(value: Mapping[str, Any], schema: Mapping[str, Any], where: str) -> Iterator[str]:
    properties = schema.get("properties") or {}
    for name in schema.get("required") or ():
        if name not in value:
            yield f"{where} lacks {name}"
    for name, each in value.items():
        if name in properties:
            yield from violations(each, properties[name], where=f"{where}.{name}")
        elif schema.get("additionalProperties") is False:
            yield f"{where} has an unknown {name}"


def _is_of(value: Any, wanted: Any) -> bool:
    """Whether a value is of a type, or of one of several; true where the type is not known."""
    names = wanted if isinstance(wanted, list) else [wanted]
    if not all(isinstance(name, str) and name in _TYPES for name in names):
        return True
    if isinstance(value, bool):
        return "boolean" in names
    if isinstance(value, float) and value.is_integer() and "integer" in names:
        return True
    return any(isinstance(value, _TYPES[name]) for name in names)
