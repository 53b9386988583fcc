"""JSON schemas of agents' tools: what is wrong with a value, and which types one may have.

Values are held against `type`, `enum`, `const`, `required`, `properties`, `items` and
`additionalProperties: false` alone. Types are looked for behind references and in alternatives,
too. A keyword whose own value is malformed is not looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = [
    "ANY_TYPE",
    "DEFINITIONS",
    "is_of",
    "resolved",
    "schema_problem",
    "types_of",
    "with_whole_numbers",
]

DEFINITIONS = ("$defs", "definitions")
"""Where a schema keeps what it refers to."""

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "number": (int, float),
    "integer": (int,),
    "boolean": (bool,),
    "null": (type(None),),
}
ANY_TYPE = frozenset(_TYPES)
"""The types of a value of which nothing is said."""
_UNSAID: Mapping[str, Any] = {}
_DEEPEST = 16
"""References and alternatives are followed so far."""


def schema_problem(value: Any, schema: Any, where: str = "arguments") -> str | None:
    """What is wrong with a value; None where nothing is.

    A schema may be a boolean; a keyword whose own value is malformed is not looked at.
    """
    if not isinstance(schema, Mapping):
        return f"{where} may not be there" if schema is False else None
    kinds = schema.get("type")
    listed = kinds if isinstance(kinds, list) else [kinds]
    names = [name for name in listed if isinstance(name, str)]
    if names and not any(is_of(value, name) for name in names):
        return f"{where} should be of type {' or '.join(names)}, not {value!r:.60}"
    allowed = schema.get("enum")
    if isinstance(allowed, list) and value not in allowed:
        return f"{where}={value!r:.60} is none of {allowed}"
    if "const" in schema and value != schema["const"]:
        return f"{where}={value!r:.60} is not {schema['const']!r:.60}"
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
        if isinstance(name, str) and name not in value:
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


def resolved(schema: object, root: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema that a reference into the root's definitions stands for; else the schema."""
    for _ in range(_DEEPEST):
        pointer = schema.get("$ref") if isinstance(schema, Mapping) else None
        _, _, path = pointer.partition("#/") if isinstance(pointer, str) else ("", "", "")
        kind, _, name = path.partition("/")
        held = root.get(kind) if kind in DEFINITIONS else None
        if not isinstance(held, Mapping) or name not in held:
            break
        schema = held[name]
    return schema if isinstance(schema, Mapping) else _UNSAID


def types_of(schema: object, root: Mapping[str, Any]) -> frozenset[str]:
    """The JSON types that a value may have, `ANY_TYPE` where the schema does not say.

    Args:
        schema: of the value.
        root: whose definitions it may refer to.
    """
    return _types(schema, root, {}, 0)


def _types(
    schema: object, root: Mapping[str, Any], known: dict[int, frozenset[str]], depth: int
) -> frozenset[str]:
    """`types_of`, looking at no schema twice: one within itself adds nothing to its types."""
    value = resolved(schema, root)
    if id(value) in known or depth > _DEEPEST:
        return known.get(id(value), frozenset())
    known[id(value)] = frozenset()
    found = _own_types(value)
    for key, joined in _JOINED.items():
        if found == ANY_TYPE and isinstance(parts := value.get(key), list) and parts:
            found = joined(*(_types(part, root, known, depth + 1) for part in parts))
    known[id(value)] = found
    return found


_JOINED = {
    "anyOf": frozenset[str].union,
    "oneOf": frozenset[str].union,
    "allOf": frozenset[str].intersection,
}


def _own_types(value: Mapping[str, Any]) -> frozenset[str]:
    """What a schema says itself, its alternatives aside."""
    if isinstance(said := value.get("type"), str | list):
        return ANY_TYPE.intersection([said] if isinstance(said, str) else map(str, said))
    choices = [value["const"]] if "const" in value else value.get("enum")
    if isinstance(choices, list):
        return frozenset(name for name in _TYPES if any(is_of(each, name) for each in choices))
    if "$ref" in value:
        return frozenset()
    hinted = {"properties": "object", "items": "array"}.items()
    return frozenset(name for key, name in hinted if key in value) or ANY_TYPE


def is_of(value: Any, name: str) -> bool:
    """Whether a value is of a JSON type; every value is of one that there is not."""
    if name in ("number", "integer") and isinstance(value, bool):
        return False
    if name == "integer" and isinstance(value, float):
        return value.is_integer()  # JSON has one kind of number: 3.0 is 3
    return name not in _TYPES or isinstance(value, _TYPES[name])
