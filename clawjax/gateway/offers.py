"""What a reply may or must be besides text: which tools it may call, which schema it satisfies.

Owns the common form that every dialect's `tools`, `tool_choice` and response format are read to.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from typing import Literal, NamedTuple, cast

from clawjax.errors import WireError
from clawjax.gateway.wire import JsonObject, as_object, as_text, json_type, read_list, reject

__all__ = [
    "Offer",
    "ToolChoice",
    "Wanted",
    "listed_names",
    "offer",
    "parallel_notes",
    "read_parameters",
    "read_response_format",
    "read_schema",
    "read_tool",
    "read_tool_choice",
]

ToolChoice = Literal["auto", "none", "required"] | tuple[Literal["function"], str]
"""Whether a tool may, must not or must be called, or which one must be."""

_ANY_OBJECT: Mapping[str, object] = {"type": "object"}


class Wanted(NamedTuple):
    """What a client says of the tools that it lists."""

    choice: ToolChoice
    allowed: tuple[str, ...] | None = None
    """Names of those that may be called; None for all."""


class Offer(NamedTuple):
    """Which tools a reply may call."""

    tools_json: str | None
    choice: ToolChoice


def offer(
    tools: Iterable[JsonObject], choice: ToolChoice, allowed: Collection[str] | None = None
) -> Offer:
    """The tools to show, by what is to be done with them: none, all, or those that are named.

    Args:
        tools: as `read_tool` gives them.
        choice: what the client wants; without tools nothing is required.
        allowed: names of those that may be called; None for all.

    Raises:
        WireError: 400, one that is named is not there.
    """
    by_name = {_name_of(tool): tool for tool in tools}
    named = (choice[1],) if isinstance(choice, tuple) else allowed
    if named is not None:
        for name in named:
            if name not in by_name:
                known = listed_names(by_name)
                reject("tool_choice", f"{json.dumps(name)} is not among tools: {known}")
        wanted = frozenset(named)
        by_name = {name: tool for name, tool in by_name.items() if name in wanted}
    if not by_name or choice == "none":
        return Offer(None, "none" if choice == "none" else "auto")
    text = json.dumps([*by_name.values()], ensure_ascii=False, separators=(",", ":"))
    return Offer(as_text(text, "tools"), choice)


def parallel_notes(offered: Offer, *, is_parallel: bool, is_formatted: bool) -> tuple[str, ...]:
    """What to say where the client wants one call at most and nothing holds the reply to that.

    Args:
        offered: which tools there are, and whether one has to be called.
        is_parallel: whether several calls are wanted.
        is_formatted: whether the reply has to be in a given format.
    """
    is_free = offered.tools_json is not None and offered.choice == "auto" and not is_formatted
    if is_parallel or not is_free:
        return ()
    return ("one call at most is left out: a reply that may call and need not is drawn freely",)


def read_tool(value: object, field: str) -> JsonObject:
    """A function's definition; a flat one, as for `/v1/responses`, is put into chat's form.

    Raises:
        WireError: 400, another kind of tool, one without a name, or parameters that are no schema.
    """
    tool = as_object(value, field)
    if tool.get("type", "function") != "function":
        kind = json.dumps(tool.get("type"))
        reject(f"{field}.type", f"{kind} is not supported: expected function")
    if tool.get("function") is None and isinstance(tool.get("name"), str):
        flat = {key: entry for key, entry in tool.items() if key != "type"}
        tool = {"type": "function", "function": flat}
    function = as_object(tool.get("function"), f"{field}.function")
    as_text(function.get("name"), f"{field}.function.name")
    read_parameters(function.get("parameters"), f"{field}.function.parameters")
    return tool


def read_parameters(value: object, field: str) -> JsonObject | None:
    """The JSON schema of a function's parameters, if it has one.

    It is checked as far as calls are read by it: which parameters there are, which have to be
    there, and of what types they may be.

    Raises:
        WireError: 400, it is no such schema.
    """
    if value is None:
        return None
    schema = as_object(value, field)
    read_list(schema, "required", field=f"{field}.required")
    if (properties := schema.get("properties")) is not None:
        for name, entry in as_object(properties, f"{field}.properties").items():
            _check_property(entry, f"{field}.properties.{name}")
    return schema


def _check_property(value: object, field: str) -> None:
    if isinstance(value, bool):
        return
    schema = as_object(value, field)
    _check_type(schema, field)
    read_list(schema, "enum", field=f"{field}.enum")
    for key in ("anyOf", "oneOf"):
        for i, option in enumerate(read_list(schema, key, field=f"{field}.{key}") or ()):
            _check_property(option, f"{field}.{key}[{i}]")


def _check_type(schema: JsonObject, field: str) -> None:
    match schema.get("type"):
        case None | str():
            return
        case list() as names if all(isinstance(name, str) for name in names):
            return
        case said:
            expected = "a string or an array of strings"
            reject(f"{field}.type", f"got {json_type(said)}, expected {expected}")


def read_tool_choice(value: object) -> Wanted:
    """OpenAI's `tool_choice`: what chat nests may be flat, as for `/v1/responses`.

    Raises:
        WireError: 400, anything else.
    """
    match value:
        case {"type": "allowed_tools", "allowed_tools": nested}:
            field = "tool_choice.allowed_tools"
            return _several(as_object(nested, field), field)
        case {"type": "allowed_tools"}:
            return _several(as_object(value, "tool_choice"), "tool_choice")
        case _:
            return Wanted(_single_choice(value))


def _several(chosen: JsonObject, field: str) -> Wanted:
    """Which functions may be called; tools of other kinds do not exist here."""
    choice = _single_choice(chosen.get("mode"))
    if (listed := read_list(chosen, "tools", field=f"{field}.tools")) is None:
        return Wanted(choice)
    names = (_function_name(tool, f"{field}.tools[{i}]") for i, tool in enumerate(listed))
    return Wanted(choice, tuple(name for name in names if name is not None))


def _function_name(value: object, field: str) -> str | None:
    tool = as_object(value, field)
    if tool.get("type") != "function":
        return None
    if (nested := tool.get("function")) is None:
        return as_text(tool.get("name"), f"{field}.name")
    return as_text(as_object(nested, f"{field}.function").get("name"), f"{field}.function.name")


def _single_choice(value: object) -> ToolChoice:
    match value:
        case None:
            return "auto"
        case "none" | "auto" | "required" as said:
            return cast("ToolChoice", said)
        case {"type": "function", "function": {"name": str() as name}}:
            return ("function", name)
        case {"type": "function", "name": str() as name}:
            return ("function", name)
        case _:
            msg = "tool_choice: expected none, auto, required or a function that is among tools"
            raise WireError(msg, param="tool_choice", code="invalid_value")


def read_response_format(value: object, field: str) -> Mapping[str, object] | None:
    """The schema in `{"type": "json_schema", "schema": {...}}`; any object for `json_object`.

    Raises:
        WireError: 400, another type or no schema.
    """
    if value is None:
        return None
    form = as_object(value, field)
    match form.get("type"):
        case None | "text":
            return None
        case "json_object":
            return _ANY_OBJECT
        case "json_schema":
            return read_schema(form, field)
        case kind:
            known = "text, json_object or json_schema"
            reject(f"{field}.type", f"{json.dumps(kind)[:40]} is unknown: expected {known}")


def read_schema(holder: JsonObject, field: str) -> Mapping[str, object]:
    """The schema in `holder["schema"]`; any object where there is none.

    Raises:
        WireError: 400, it is no object.
    """
    schema = holder.get("schema")
    return _ANY_OBJECT if schema is None else as_object(schema, f"{field}.schema")


def listed_names(names: Iterable[str]) -> str:
    """Names for a message."""
    return ", ".join(names) or "(none)"


def _name_of(tool: JsonObject) -> str:
    return cast("dict[str, str]", tool["function"])["name"]
