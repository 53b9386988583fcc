"""Whether what was written has the schema's keys and nesting, before values are converted.

Owns the wording of "no such key" and "not a list". Invariant: what passes has values where the
schema has values, so that the groups' own checks never meet a list in a number's place.
"""

from __future__ import annotations

import dataclasses
import difflib
import typing
from collections.abc import Mapping, Sequence
from types import NoneType

from clawjax.config.checks import require

__all__ = ["check_shape", "without_null"]


def check_shape(schema: type, written: object, path: str = "") -> None:
    """Compare with a dataclass of dataclasses, lists, mappings and values.

    Args:
        schema: of the group.
        written: plain containers and values, interpolations unresolved.
        path: the group's own key, with a full stop behind it.

    Raises:
        ConfigError: an unknown key, or another kind of container; both name the key.
    """
    group = path.removesuffix(".") or "the configuration"
    if not isinstance(written, Mapping):
        if _is_text(written):  # an interpolation
            return
        require(False, f"{group} is {_kind(written)}: give keys and values")
    assert isinstance(written, Mapping)
    hints = typing.get_type_hints(schema)
    known = [field.name for field in dataclasses.fields(schema)]
    for name, value in written.items():
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1)
            fix = f"did you mean {near[0]}?" if near else f"use one of {', '.join(known)}"
            require(False, f"{path}{name} is unknown: {fix}")
        _check_value(without_null(hints[name]), value, f"{path}{name}")


def without_null(hint: type) -> type:
    """`X | None` as `X`; what is no such union is left as it is."""
    kinds = [kind for kind in typing.get_args(hint) if kind is not NoneType]
    is_optional = NoneType in typing.get_args(hint) and len(kinds) == 1
    return kinds[0] if is_optional else hint


def _check_value(hint: type, value: object, key: str) -> None:
    if hint is typing.Any:
        return  # its reader checks it
    if value is None or (_is_text(value) and typing.get_origin(hint) in (list, dict)):
        return  # converted, or refused, by type
    if dataclasses.is_dataclass(hint):
        check_shape(hint, value, f"{key}.")
    elif typing.get_origin(hint) is list:
        require(_is_list(value), f"{key} is {_kind(value)}: give a list")
        assert isinstance(value, Sequence)
        (element,) = typing.get_args(hint)
        for index, entry in enumerate(value):
            _check_value(element, entry, f"{key}[{index}]")
    elif typing.get_origin(hint) is dict:
        require(isinstance(value, Mapping), f"{key} is {_kind(value)}: give keys and values")
        assert isinstance(value, Mapping)
        for name, entry in value.items():
            _check_value(typing.get_args(hint)[1], entry, f"{key}.{name}")
    else:
        is_value = not isinstance(value, Mapping) and not _is_list(value)
        require(is_value, f"{key} is {_kind(value)}: give one value")


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_list(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _kind(value: object) -> str:
    if isinstance(value, Mapping):
        return "a mapping"
    return "a list" if _is_list(value) else f"{value!r}"
