"""Chat completion requests: from OpenAI's JSON to the record that every dialect is translated to.

Pure translation: knows nothing of sessions, tokens or the engine. Unknown and null keys are
ignored, as real clients send many of them. What the dialects have in common is read here once.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import cast

from clawjax.config import MOST_CHOICES, EngineConfig
from clawjax.errors import WireError
from clawjax.gateway.offers import (
    Offer,
    ToolChoice,
    listed_names,
    offer,
    parallel_notes,
    read_response_format,
    read_schema,
    read_tool,
    read_tool_choice,
)
from clawjax.gateway.wire import (
    JsonObject,
    as_json_text,
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
from clawjax.log.replay import GREEDY_BELOW
from clawjax.records import Message, SamplingParams, ToolCall

__all__ = [
    "MAX_CHOICES",
    "MAX_TOP_LOGPROBS",
    "SEED_RANGE",
    "ChatRequest",
    "parse_chat_request",
    "read_content",
    "read_part",
    "read_sampling",
]

SEED_RANGE = 2**31
"""Seeds are taken modulo this, so that every sampler and database can hold them."""

MAX_CHOICES = MOST_CHOICES
MAX_TOP_LOGPROBS = 20
_MAX_STOP_STRINGS = 16
_SMALLEST_TOP_P = 1e-6
_ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
}


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One validated request; `sampling.max_response_tokens` is not yet clamped to the context."""

    model: str | None
    messages: tuple[Message, ...]
    """Where the last one is an assistant's without calls, the reply goes on from its text."""
    tools_json: str | None
    sampling: SamplingParams
    choices: int = 1
    is_stream: bool = False
    wants_usage: bool = False
    wants_logprobs: bool = False
    top_logprobs: int = 0
    tool_choice: ToolChoice = "auto"
    is_parallel: bool = True
    """Whether a reply may call several tools."""
    response_format: Mapping[str, object] | None = None
    """The JSON schema that the reply has to satisfy; None: any text will do."""
    prompt: str | tuple[int, ...] | None = None
    """A text to be continued as it is, without the chat template; `messages` are for the log."""
    id_prefix: str = "chatcmpl"
    """How the answer's id begins."""
    previous_response_id: str | None = None
    """The answer that `messages` go on from, which the server has to look up."""
    echo: Mapping[str, object] = field(default_factory=dict)
    """What the dialect repeats in its answer."""
    notes: tuple[str, ...] = ()
    """What was asked for and is left out."""


def parse_chat_request(body: JsonObject, defaults: EngineConfig) -> ChatRequest:
    """Validate a request body.

    Raises:
        WireError: 400, naming the field, what was found and what is expected.
    """
    wants_logprobs = bool(read_flag(body, "logprobs"))
    top_logprobs = read_integer(body, "top_logprobs", 0, MAX_TOP_LOGPROBS) or 0
    if top_logprobs and not wants_logprobs:
        reject("top_logprobs", "needs logprobs=true")
    stream_options = body.get("stream_options")
    options = {} if stream_options is None else as_object(stream_options, "stream_options")
    offered = _offer(body)
    is_parallel = read_flag(body, "parallel_tool_calls") is not False
    form = _response_format(body)
    return ChatRequest(
        model=read_text(body, "model"),
        messages=_messages(body),
        tools_json=offered.tools_json,
        sampling=read_sampling(body, defaults),
        choices=read_integer(body, "n", 1, MAX_CHOICES) or 1,
        is_stream=bool(read_flag(body, "stream")),
        wants_usage=bool(read_flag(options, "include_usage")),
        wants_logprobs=wants_logprobs,
        top_logprobs=top_logprobs,
        tool_choice=offered.choice,
        is_parallel=is_parallel,
        response_format=form,
        notes=parallel_notes(offered, is_parallel=is_parallel, is_formatted=form is not None),
    )


# --- sampling ------------------------------------------------------------------------------------


def read_sampling(
    body: JsonObject,
    defaults: EngineConfig,
    *,
    limits: Iterable[str] = ("max_completion_tokens", "max_tokens"),
    stop: str = "stop",
) -> SamplingParams:
    """How to draw the reply.

    Args:
        body: what the client sent.
        defaults: what counts where it names nothing.
        limits: fields that may name the most tokens; the first one given counts.
        stop: the field that names stop strings.

    Raises:
        WireError: 400, out of range or of the wrong type.
    """
    named = [limit for name in limits if (limit := read_integer(body, name, 1)) is not None]
    named_temperature = read_number(body, "temperature", 0.0, 2.0)
    temperature = defaults.temperature if named_temperature is None else named_temperature
    top_p = read_number(body, "top_p", 0.0, 1.0)
    top_k = read_integer(body, "top_k", -1)
    seed = read_integer(body, "seed", -(2**63), 2**64)
    return SamplingParams(
        max_response_tokens=named[0] if named else defaults.max_response_tokens,
        temperature=temperature if temperature >= GREEDY_BELOW else 0.0,
        top_p=defaults.top_p if top_p is None else max(top_p, _SMALLEST_TOP_P),
        top_k=max(top_k or 0, 0),
        min_p=read_number(body, "min_p", 0.0, 1.0) or 0.0,
        stop=_stop(body.get(stop), stop),
        seed=None if seed is None else seed % SEED_RANGE,
    )


def _stop(value: object, field: str) -> tuple[str, ...]:
    if value is None:
        return ()
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list):
        reject(field, f"got {json_type(value)}, expected a string or an array of strings")
    words = tuple(
        as_text(word, f"{field}[{i}]") for i, word in enumerate(cast("list[object]", value))
    )
    if len(words) > _MAX_STOP_STRINGS:
        reject(field, f"{len(words)} strings are too many: the limit is {_MAX_STOP_STRINGS}")
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
        reject(f"{field}.role", f"{said[:40]!r} is unknown: expected one of {listed_names(_ROLES)}")
    is_assistant = role == "assistant"
    return Message(
        role=role,
        content=read_content(entry.get("content"), f"{field}.content"),
        tool_calls=_tool_calls(entry, field) if is_assistant else (),
        tool_call_id=read_text(entry, "tool_call_id", field=f"{field}.tool_call_id"),
        name=read_text(entry, "name", field=f"{field}.name"),
        reasoning=_reasoning(entry) if is_assistant else None,
    )


def read_content(value: object, field: str) -> str:
    """A message's text: a string, null, or parts, one a line.

    Raises:
        WireError: 400; images among them, as no model here reads them.
    """
    match value:
        case None:
            return ""
        case str():
            return as_text(value, field)
        case list():
            parts = cast("list[object]", value)
            return "\n".join(read_part(part, f"{field}[{i}]") for i, part in enumerate(parts))
        case _:
            reject(
                field,
                f"got {json_type(value)}, expected a string, null or an array of text parts",
                code="invalid_type",
            )


def read_part(value: object, field: str) -> str:
    """One part's text.

    Raises:
        WireError: 400, a kind of part that is no text.
    """
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
    arguments, where = function.get("arguments"), f"{field}.function.arguments"
    if isinstance(arguments, dict):
        arguments = json.dumps(arguments, ensure_ascii=False)
    return ToolCall(
        call_id=read_text(call, "id", field=f"{field}.id") or "",
        name=as_text(function.get("name"), f"{field}.function.name"),
        arguments="{}" if arguments is None else as_json_text(arguments, where),
    )


# --- tools and the reply's form ------------------------------------------------------------------


def _offer(body: JsonObject) -> Offer:
    listed = read_list(body, "tools") or []
    tools = [read_tool(value, f"tools[{i}]") for i, value in enumerate(listed)]
    return offer(tools, *read_tool_choice(body.get("tool_choice")))


def _response_format(body: JsonObject) -> Mapping[str, object] | None:
    """Chat puts the schema one level deeper than the other dialects."""
    match body.get("response_format"):
        case {"type": "json_schema", "json_schema": nested}:
            inner = as_object(nested, "response_format.json_schema")
            return read_schema(inner, "response_format.json_schema")
        case value:
            return read_response_format(value, "response_format")
