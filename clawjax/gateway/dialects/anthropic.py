"""`/v1/messages` requests: from Anthropic's JSON to the common record.

Content blocks become messages in OpenAI's order: a tool's result is a message of its own, thoughts
and calls belong to their assistant message. What only steers caching or billing is left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import cast

from clawjax.config import EngineConfig
from clawjax.errors import WireError
from clawjax.gateway.offers import (
    ToolChoice,
    offer,
    parallel_notes,
    read_parameters,
    read_response_format,
)
from clawjax.gateway.openai import ChatRequest, read_content, read_part, read_sampling
from clawjax.gateway.wire import (
    JsonObject,
    as_json_text,
    as_object,
    as_text,
    read_flag,
    read_list,
    read_text,
    reject,
)
from clawjax.records import Message, ToolCall

__all__ = ["MALFORMED", "parse_messages_request"]

MALFORMED = "malformed_arguments"
"""The only key of a call's input where its arguments were no object: they are its value, as text.
Anthropic's clients take nothing but objects; a call is recognised when it comes back so."""

_BILLING = "x-anthropic-billing-header:"
"""A system block of Claude Code's that differs from one conversation to the next and is not for
the model: before everything else, it would keep any two prompts from having a common beginning."""

_CHOICES: Mapping[str, ToolChoice] = {"auto": "auto", "any": "required", "none": "none"}
_IGNORED_PARTS = ("redacted_thinking",)
_ERROR = re.compile(r"\s*error\b", re.IGNORECASE)
"""How the result of a call that failed begins, so that the model and the judges know."""


def parse_messages_request(body: JsonObject, defaults: EngineConfig) -> ChatRequest:
    """Validate a request body.

    Raises:
        WireError: 400, naming the field, what was found and what is expected.
    """
    tools, notes = _tools(body)
    offered = offer(tools, _tool_choice(body.get("tool_choice")))
    is_parallel = not _denies_parallel(body.get("tool_choice"))
    form = _response_format(body)
    serial = parallel_notes(offered, is_parallel=is_parallel, is_formatted=form is not None)
    return ChatRequest(
        model=read_text(body, "model"),
        messages=(*_system(body.get("system")), *_messages(body)),
        tools_json=offered.tools_json,
        sampling=read_sampling(body, defaults, limits=("max_tokens",), stop="stop_sequences"),
        is_stream=bool(read_flag(body, "stream")),
        tool_choice=offered.choice,
        is_parallel=is_parallel,
        response_format=form,
        id_prefix="msg_",
        notes=(*notes, *serial),
    )


# --- messages ------------------------------------------------------------------------------------


def _system(value: object) -> tuple[Message, ...]:
    if isinstance(value, list):
        blocks = cast("list[object]", value)
        value = [block for block in blocks if not _is_billing(block)]
    text = read_content(value, "system")
    return (Message("system", text),) if text else ()


def _is_billing(block: object) -> bool:
    text = block.get("text") if isinstance(block, dict) else None
    return isinstance(text, str) and text.startswith(_BILLING)


def _messages(body: JsonObject) -> Iterator[Message]:
    found = body.get("messages")
    if not isinstance(found, list) or not found:
        msg = "messages must be a non-empty list"
        raise WireError(msg, param="messages", code="invalid_type")
    for i, value in enumerate(cast("list[object]", found)):
        yield from _message(as_object(value, f"messages[{i}]"), f"messages[{i}]")


def _message(entry: JsonObject, field: str) -> Iterator[Message]:
    role = as_text(entry.get("role"), f"{field}.role")
    content, where = entry.get("content"), f"{field}.content"
    match role:
        case "system" | "developer":
            yield Message("system", read_content(content, where))
        case "user":
            yield from _user(content, where)
        case "assistant":
            yield _assistant(content, where)
        case _:
            known = "user, assistant or system"
            reject(f"{field}.role", f"{role[:40]!r} is unknown: expected one of {known}")


def _user(content: object, field: str) -> Iterator[Message]:
    """Results come as messages of their own, the text between them as the user's."""
    if not isinstance(content, list):
        yield Message("user", read_content(content, field))
        return
    texts: list[str] = []
    blocks = cast("list[object]", content)
    for i, value in enumerate(blocks):
        where = f"{field}[{i}]"
        block = as_object(value, where)
        if block.get("type") != "tool_result":
            texts.append(_text(block, where))
            continue
        if texts:
            yield Message("user", "\n".join(texts))
            texts = []
        yield Message(
            "tool",
            _result(block, where),
            tool_call_id=read_text(block, "tool_use_id", field=f"{where}.tool_use_id"),
        )
    if texts or not blocks:
        yield Message("user", "\n".join(texts))


def _text(block: JsonObject, field: str) -> str:
    match block:
        case {"type": "document", "source": {"type": "text", "data": text}}:
            return as_text(text, f"{field}.source.data")
        case {"type": "tool_reference", "tool_name": name}:
            return as_text(name, f"{field}.tool_name")
        case _:
            return read_part(block, field)


def _result(block: JsonObject, field: str) -> str:
    """A result's text; that of a failed call says so, as no other field of a message does."""
    text = _result_text(block.get("content"), f"{field}.content")
    if block.get("is_error") is not True or _ERROR.match(text):
        return text
    return f"Error: {text}" if text.strip() else "Error"


def _result_text(content: object, field: str) -> str:
    if not isinstance(content, list):
        return read_content(content, field)
    blocks = cast("list[object]", content)
    return "\n".join(
        _text(as_object(block, f"{field}[{i}]"), f"{field}[{i}]") for i, block in enumerate(blocks)
    )


def _assistant(content: object, field: str) -> Message:
    """Texts of one reply are pieces of one text."""
    if not isinstance(content, list):
        return Message("assistant", read_content(content, field))
    texts: list[str] = []
    thoughts: list[str] = []
    calls: list[ToolCall] = []
    for i, value in enumerate(cast("list[object]", content)):
        where = f"{field}[{i}]"
        block = as_object(value, where)
        match block.get("type"):
            case "thinking":
                thoughts.append(as_text(block.get("thinking"), f"{where}.thinking"))
            case "tool_use":
                calls.append(_call(block, where))
            case kind if kind not in _IGNORED_PARTS:
                texts.append(_text(block, where))
            case _:
                pass
    return Message(
        "assistant",
        "".join(texts),
        tool_calls=tuple(calls),
        reasoning="".join(thoughts) or None,
    )


def _call(block: JsonObject, field: str) -> ToolCall:
    return ToolCall(
        call_id=read_text(block, "id", field=f"{field}.id") or "",
        name=as_text(block.get("name"), f"{field}.name"),
        arguments=as_json_text(_arguments(block.get("input")), f"{field}.input"),
    )


def _arguments(value: object) -> str:
    """A call's input as text; what was no object, as it was written."""
    said = cast("JsonObject", value) if isinstance(value, dict) else {}
    if isinstance(text := said.get(MALFORMED), str) and len(said) == 1:
        return text
    return json.dumps({} if value is None else value, ensure_ascii=False)


# --- tools and the reply's form ------------------------------------------------------------------


def _tools(body: JsonObject) -> tuple[list[JsonObject], tuple[str, ...]]:
    """The client's own tools in chat's form, and a note on those that Anthropic would run."""
    own: list[JsonObject] = []
    others: list[str] = []
    for i, value in enumerate(read_list(body, "tools") or []):
        tool = as_object(value, f"tools[{i}]")
        if tool.get("type") not in (None, "custom"):
            others.append(json.dumps(tool.get("type"))[:40])
            continue
        function = {
            "name": as_text(tool.get("name"), f"tools[{i}].name"),
            "description": read_text(tool, "description", field=f"tools[{i}].description"),
            "parameters": read_parameters(tool.get("input_schema"), f"tools[{i}].input_schema"),
        }
        known = {key: entry for key, entry in function.items() if entry is not None}
        own.append({"type": "function", "function": known})
    notes = [f"tools of type {', '.join(dict.fromkeys(others))} are left out"] if others else []
    return own, tuple(notes)


def _tool_choice(value: object) -> ToolChoice:
    match value:
        case None:
            return "auto"
        case {"type": "tool", "name": str() as name}:
            return ("function", name)
        case {"type": str() as kind} if kind in _CHOICES:
            return _CHOICES[kind]
        case _:
            reject("tool_choice", "expected auto, any, none or a tool that is among tools")


def _denies_parallel(choice: object) -> bool:
    """As told beside the choice; there is one by now, or none at all."""
    said = as_object(choice, "tool_choice") if choice is not None else {}
    return bool(read_flag(said, "disable_parallel_tool_use"))


def _response_format(body: JsonObject) -> Mapping[str, object] | None:
    match body.get("output_config"):
        case {"format": found} if found is not None:
            return read_response_format(found, "output_config.format")
        case _:
            return read_response_format(body.get("output_format"), "output_format")
