"""Chat completion requests: from OpenAI's JSON to records.

Pure translation: knows nothing of sessions, tokens or the engine. Unknown and null keys are
ignored, as real clients send many of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, cast

from clawjax.config import EngineConfig
from clawjax.errors import WireError
from clawjax.gateway.wire import (
    JsonObject,
    as_object,
    as_text,
    json_type,
    read_flag,
    read_integer,
    read_list,
    read_number,
    read_text,
    reject,
)
from clawjax.records import Message, SamplingParams, ToolCall

__all__ = ["SEED_RANGE", "ChatRequest", "ToolChoice", "parse_chat_request"]

SEED_RANGE = 2**31
"""Seeds are taken modulo this, so that every sampler and database can hold them."""

_MAX_CHOICES = 8
_MAX_STOP_STRINGS = 16
_MAX_TOP_LOGPROBS = 20
_SMALLEST_TOP_P = 1e-6
_ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
}


ToolChoice = Literal["auto", "none", "required"] | tuple[Literal["function"], str]
"""Whether a reply may, must not or must call functions, or must call one by name."""


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One validated request; `sampling.max_response_tokens` is not yet clamped to the context."""

    model: str | None
    messages: tuple[Message, ...]
    tools_json: str | None
    sampling: SamplingParams
    choices: int = 1
    is_stream: bool = False
    wants_usage: bool = False
    wants_logprobs: bool = False
    top_logprobs: int = 0
    tool_choice: ToolChoice = "auto"
    is_parallel: bool = True
    """Whether a reply that has to call functions may call several."""
    response_format: JsonObject | None = None
    """The JSON schema of the reply's text; None where it is free."""


def parse_chat_request(body: JsonObject, defaults: EngineConfig) -> ChatRequest:
    """Validate a request body.

    Raises:
        WireError: 400, naming the field, what was found and what is expected.
    """
    wants_logprobs = bool(read_flag(body, "logprobs"))
    top_logprobs = read_integer(body, "top_logprobs", 0, _MAX_TOP_LOGPROBS) or 0
    if top_logprobs and not wants_logprobs:
        reject("top_logprobs", "needs logprobs=true")
    stream_options = body.get("stream_options")
    options = {} if stream_options is None else as_object(stream_options, "stream_options")
    return ChatRequest(
        model=read_text(body, "model"),
        messages=_messages(body),
        tools_json=_tools_json(body),
        sampling=_sampling(body, defaults),
        choices=read_integer(body, "n", 1, _MAX_CHOICES) or 1,
        is_stream=bool(read_flag(body, "stream")),
        wants_usage=bool(read_flag(options, "include_usage")),
        wants_logprobs=wants_logprobs,
        top_logprobs=top_logprobs,
        tool_choice=_tool_choice(body),
        is_parallel=read_flag(body, "parallel_tool_calls") is not False,
        response_format=_response_format(body.get("response_format")),
    )


# --- sampling ------------------------------------------------------------------------------------


def _sampling(body: JsonObject, defaults: EngineConfig) -> SamplingParams:
    new_limit = read_integer(body, "max_completion_tokens", 1)
    old_limit = read_integer(body, "max_tokens", 1)
    temperature = read_number(body, "temperature", 0.0, 2.0)
    top_p = read_number(body, "top_p", 0.0, 1.0)
    top_k = read_integer(body, "top_k", -1)
    seed = read_integer(body, "seed", -(2**63), 2**64)
    return SamplingParams(
        max_response_tokens=new_limit or old_limit or defaults.max_response_tokens,
        temperature=defaults.temperature if temperature is None else temperature,
        top_p=defaults.top_p if top_p is None else max(top_p, _SMALLEST_TOP_P),
        top_k=max(top_k or 0, 0),
        min_p=read_number(body, "min_p", 0.0, 1.0) or 0.0,
        stop=_stop(body.get("stop")),
        seed=None if seed is None else seed % SEED_RANGE,
    )


def _stop(value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list):
        reject("stop", f"got {json_type(value)}, expected a string or an array of strings")
    words = tuple(as_text(word, f"stop[{i}]") for i, word in enumerate(cast("list[object]", value)))
    if len(words) > _MAX_STOP_STRINGS:
        reject("stop", f"{len(words)} strings are too many: the limit is {_MAX_STOP_STRINGS}")
    return tuple(dict.fromkeys(word for word in words if word))


# --- messages ------------------------------------------------------------------------------------


def _messages(body: JsonObject) -> tuple[Message, ...]:
    found = body.get("messages")
    if not isinstance(found, list) or not found:
        msg = "messages must be a non-empty list"
        raise WireError(msg, param="messages", code="invalid_type")
    listed = cast("list[object]", found)
    return tuple(_message(entry, f"messages[{i}]") for i, entry in enumerate(listed))


def _message(value: object, field: str) -> Message:
    entry = as_object(value, field)
    said = as_text(entry.get("role"), f"{field}.role")
    role = _ROLES.get(said)
    if role is None:
        reject(f"{field}.role", f"{said[:40]!r} is unknown: expected one of {_listed(_ROLES)}")
    is_assistant = role == "assistant"
    return Message(
        role=role,
        content=_content(entry.get("content"), f"{field}.content"),
        tool_calls=_tool_calls(entry, field) if is_assistant else (),
        tool_call_id=read_text(entry, "tool_call_id", field=f"{field}.tool_call_id"),
        name=read_text(entry, "name", field=f"{field}.name"),
        reasoning=_reasoning(entry) if is_assistant else None,
    )


def _content(value: object, field: str) -> str:
    match value:
        case None:
            return ""
        case str():
            return as_text(value, field)
        case list():
            parts = cast("list[object]", value)
            return "\n".join(_part(part, f"{field}[{i}]") for i, part in enumerate(parts))
        case _:
            reject(
                field,
                f"got {json_type(value)}, expected a string, null or an array of text parts",
                code="invalid_type",
            )


def _part(value: object, field: str) -> str:
    if isinstance(value, str):
        return as_text(value, field)
    part = as_object(value, field)
    match part.get("type"):
        case "text" | "input_text" | "output_text":
            return as_text(part.get("text"), f"{field}.text")
        case "refusal":
            return as_text(part.get("refusal"), f"{field}.refusal")
        case "image_url" | "input_image" | "image":
            reject(field, "images are not supported: this model reads text only")
        case kind:
            reject(field, f"parts of type {json.dumps(kind)} are not supported: send text parts")


def _reasoning(entry: JsonObject) -> str | None:
    for name in ("reasoning_content", "reasoning"):
        if isinstance(text := entry.get(name), str) and text:
            return as_text(text, name)
    return None


def _tool_calls(entry: JsonObject, field: str) -> tuple[ToolCall, ...]:
    listed = read_list(entry, "tool_calls", field=f"{field}.tool_calls") or []
    return tuple(_tool_call(value, f"{field}.tool_calls[{i}]") for i, value in enumerate(listed))


def _tool_call(value: object, field: str) -> ToolCall:
    call = as_object(value, field)
    function = as_object(call.get("function"), f"{field}.function")
    arguments = function.get("arguments")
    if isinstance(arguments, dict):
        arguments = json.dumps(arguments, ensure_ascii=False)
    return ToolCall(
        call_id=read_text(call, "id", field=f"{field}.id") or "",
        name=as_text(function.get("name"), f"{field}.function.name"),
        arguments="{}" if arguments is None else as_text(arguments, f"{field}.function.arguments"),
    )


# --- tools ---------------------------------------------------------------------------------------


def _tools_json(body: JsonObject) -> str | None:
    tools = [_tool(value, f"tools[{i}]") for i, value in enumerate(read_list(body, "tools") or [])]
    names = [name for name, _ in tools]
    wanted = _wanted_tools(body.get("tool_choice"), names)
    offered = [tool for name, tool in tools if name in wanted]
    if not offered:
        return None
    text = json.dumps(offered, ensure_ascii=False, separators=(",", ":"))
    return as_text(text, "tools")


def _tool(value: object, field: str) -> tuple[str, JsonObject]:
    """Name and definition; a flat one, as for `/v1/responses`, is put into chat's form."""
    tool = as_object(value, field)
    if tool.get("type", "function") != "function":
        kind = json.dumps(tool.get("type"))
        reject(f"{field}.type", f"{kind} is not supported: expected function")
    if tool.get("function") is None and isinstance(tool.get("name"), str):
        flat = {key: entry for key, entry in tool.items() if key != "type"}
        tool = {"type": "function", "function": flat}
    function = as_object(tool.get("function"), f"{field}.function")
    return as_text(function.get("name"), f"{field}.function.name"), tool


def _wanted_tools(choice: object, names: list[str]) -> Iterable[str]:
    """Which tools to offer: of a choice by name, only that one."""
    match choice:
        case None | "auto" | "required":
            return names
        case "none":
            return ()
        case {"type": "function", "function": {"name": str() as name}}:
            if name not in names:
                reject("tool_choice", f"{json.dumps(name)} is not among tools: {_listed(names)}")
            return (name,)
        case _:
            msg = "tool_choice: expected none, auto, required or a function that is among tools"
            raise WireError(msg, param="tool_choice", code="invalid_value")


def _tool_choice(body: JsonObject) -> ToolChoice:
    """What was checked by `_wanted_tools`; without tools nothing is required."""
    match body.get("tool_choice"):
        case "none":
            return "none"
        case "required" if body.get("tools"):
            return "required"
        case {"function": {"name": str() as name}}:
            return ("function", name)
        case _:
            return "auto"


def _response_format(value: object) -> JsonObject | None:
    if value is None:
        return None
    wanted = as_object(value, "response_format")
    match wanted.get("type"):
        case "text":
            return None
        case "json_object":
            return {"type": "object"}
        case "json_schema":
            described = as_object(wanted.get("json_schema"), "response_format.json_schema")
            schema = described.get("schema", {"type": "object"})
            return as_object(schema, "response_format.json_schema.schema")
        case kind:
            known = "text, json_object or json_schema"
            reject("response_format.type", f"{json.dumps(kind)} is unknown: expected {known}")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "(none)"
