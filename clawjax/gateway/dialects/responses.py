"""`/v1/responses` requests: from OpenAI's items to the common record.

A reply comes back as several items (thought, text, calls), which become one assistant message
again. An answer's id tells whether its messages begin with instructions, as those of one request
do not count for the next (`previous_response_id`), and whether its client wanted it stored.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import cast

from clawjax.config import EngineConfig
from clawjax.gateway.offers import (
    Wanted,
    offer,
    parallel_notes,
    read_response_format,
    read_tool,
    read_tool_choice,
)
from clawjax.gateway.openai import ChatRequest, read_content, read_sampling
from clawjax.gateway.wire import (
    JsonObject,
    as_json_text,
    as_object,
    as_text,
    json_type,
    read_flag,
    read_list,
    read_text,
    reject,
    storable,
)
from clawjax.records import Message, ToolCall, Turn

__all__ = ["is_instructed", "is_stored", "parse_responses_request", "resume"]

_PREFIX = "resp_"
_INSTRUCTED, _NOT_STORED = "i", "n"
"""Signs behind the prefix, in this order. What follows them is hexadecimal, so they are told from
it."""

_ROLES = {"user": "user", "system": "system", "developer": "system", "assistant": "assistant"}
_ECHOED = ("instructions", "metadata", "parallel_tool_calls", "previous_response_id", "reasoning",
           "store", "text", "tool_choice", "tools", "max_output_tokens", "user")  # fmt: skip


def parse_responses_request(body: JsonObject, defaults: EngineConfig) -> ChatRequest:
    """Validate a request body.

    Raises:
        WireError: 400, naming the field, what was found and what is expected.
    """
    if read_flag(body, "background"):
        reject("background", "replies are not made in the background: stream them")
    if body.get("conversation") is not None:
        reject("conversation", "conversations are not kept: use previous_response_id")
    instructions = read_text(body, "instructions")
    lead = (Message("system", instructions),) if instructions else ()
    items = _Items()
    items.read(body.get("input"))
    tools, others = _tools(body)
    offered = offer(tools, *_tool_choice(body.get("tool_choice")))
    is_parallel = read_flag(body, "parallel_tool_calls") is not False
    form = _response_format(body)
    serial = parallel_notes(offered, is_parallel=is_parallel, is_formatted=form is not None)
    return ChatRequest(
        model=read_text(body, "model"),
        messages=(*lead, *items.messages),
        tools_json=offered.tools_json,
        sampling=read_sampling(body, defaults, limits=("max_output_tokens",)),
        is_stream=bool(read_flag(body, "stream")),
        tool_choice=offered.choice,
        is_parallel=is_parallel,
        response_format=form,
        id_prefix=_id_prefix(is_led=bool(lead), is_kept=read_flag(body, "store") is not False),
        previous_response_id=_previous(body),
        echo={name: body[name] for name in _ECHOED if body.get(name) is not None},
        notes=(*_note("tools", others), *_note("input items", items.ignored), *serial),
    )


def resume(request: ChatRequest, turn: Turn) -> ChatRequest:
    """The request with all that was said up to and in `turn` before its own messages."""
    own = int(is_instructed(request.id_prefix))
    past = turn.messages[int(is_instructed(turn.response_id)) :]
    lead, new = request.messages[:own], request.messages[own:]
    return replace(request, messages=(*lead, *past, turn.reply, *new))


def is_instructed(response_id: str) -> bool:
    """Whether a response's messages begin with the instructions of its own request."""
    return response_id.startswith(_PREFIX + _INSTRUCTED)


def is_stored(response_id: str) -> bool:
    """Whether this is the id of a response that its client did not ask to be let go."""
    signs = response_id.removeprefix(_PREFIX).removeprefix(_INSTRUCTED)
    return response_id.startswith(_PREFIX) and not signs.startswith(_NOT_STORED)


def _id_prefix(*, is_led: bool, is_kept: bool) -> str:
    return _PREFIX + (_INSTRUCTED if is_led else "") + ("" if is_kept else _NOT_STORED)


def _previous(body: JsonObject) -> str | None:
    named = read_text(body, "previous_response_id")
    return storable(named, "previous_response_id") if named else None


def _response_format(body: JsonObject) -> Mapping[str, object] | None:
    text = body.get("text")
    form = {} if text is None else as_object(text, "text")
    return read_response_format(form.get("format"), "text.format")


def _note(what: str, kinds: Sequence[str]) -> tuple[str, ...]:
    return (f"{what} of type {', '.join(dict.fromkeys(kinds))} are left out",) if kinds else ()


# --- input ---------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Reply:
    """The items of one reply, of which more may come."""

    texts: list[str] = field(default_factory=list)
    calls: list[ToolCall] = field(default_factory=list)
    reasoning: str | None = None

    @property
    def is_empty(self) -> bool:
        return not (self.texts or self.calls or self.reasoning)

    def message(self) -> Message:
        return Message(
            "assistant",
            "".join(self.texts),
            tool_calls=tuple(self.calls),
            reasoning=self.reasoning,
        )


@dataclass(slots=True)
class _Items:
    """The messages that items make, in time in proportion to the items."""

    messages: list[Message] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    _reply: _Reply | None = None
    """The open reply, which becomes the next message."""

    def read(self, value: object) -> None:
        match value:
            case str() if value:
                self.messages.append(Message("user", as_text(value, "input")))
            case [_, *_]:
                for i, item in enumerate(cast("list[object]", value)):
                    self._add(as_object(item, f"input[{i}]"), f"input[{i}]")
            case _:
                expected = "a string or an array of items, with something in it"
                reject("input", f"got {json_type(value)}, expected {expected}", code="invalid_type")
        self._close()
        if not self.messages:
            reject("input", "nothing in it can be read: send a message")

    def _add(self, item: JsonObject, where: str) -> None:
        match item.get("type"):
            case None | "message":
                self._add_message(item, where)
            case "reasoning":
                self._add_reasoning(_thought(item, where))
            case "function_call" | "custom_tool_call":
                self._open().calls.append(_call(item, where))
            case "function_call_output" | "custom_tool_call_output":
                self._close()
                output = read_content(item.get("output"), f"{where}.output")
                call_id = read_text(item, "call_id", field=f"{where}.call_id")
                self.messages.append(Message("tool", output, tool_call_id=call_id))
            case "item_reference":
                reject(where, "items are not kept: send the item, or use previous_response_id")
            case kind:
                self.ignored.append(json.dumps(kind)[:40])

    def _add_message(self, item: JsonObject, where: str) -> None:
        role = as_text(item.get("role"), f"{where}.role")
        if role not in _ROLES:
            known = ", ".join(_ROLES)
            reject(f"{where}.role", f"{role[:40]!r} is unknown: expected one of {known}")
        content = read_content(item.get("content"), f"{where}.content")
        if role != "assistant":
            self._close()
            self.messages.append(Message(_ROLES[role], content))
            return
        reply = self._open()
        if reply.texts and not reply.calls:  # a reply has one text before its calls
            reply = self._begin()
        if content:
            reply.texts.append(content)

    def _add_reasoning(self, thought: str) -> None:
        reply = self._open()
        if not reply.is_empty:
            reply = self._begin()
        reply.reasoning = thought or None

    def _open(self) -> _Reply:
        """The open reply, or a new one."""
        return self._begin() if self._reply is None else self._reply

    def _begin(self) -> _Reply:
        self._close()
        self._reply = _Reply()
        return self._reply

    def _close(self) -> None:
        if self._reply is not None:
            self.messages.append(self._reply.message())
            self._reply = None


def _thought(item: JsonObject, where: str) -> str:
    """The thought itself where it is there, else its summary."""
    for name in ("content", "summary"):
        if parts := read_list(item, name, field=f"{where}.{name}"):
            texts = [as_object(part, f"{where}.{name}").get("text") for part in parts]
            return "\n".join(as_text(text, f"{where}.{name}.text") for text in texts)
    return ""


def _call(item: JsonObject, where: str) -> ToolCall:
    arguments = item.get("arguments")
    if item.get("type") == "custom_tool_call":
        arguments = json.dumps({"input": item.get("input")}, ensure_ascii=False)
    return ToolCall(
        call_id=read_text(item, "call_id", field=f"{where}.call_id") or "",
        name=as_text(item.get("name"), f"{where}.name"),
        arguments="{}" if arguments is None else as_json_text(arguments, f"{where}.arguments"),
    )


# --- tools ---------------------------------------------------------------------------------------


def _tools(body: JsonObject) -> tuple[list[JsonObject], list[str]]:
    """Functions in chat's form, and the kinds of what is none."""
    functions: list[JsonObject] = []
    others: list[str] = []
    for i, value in enumerate(read_list(body, "tools") or []):
        tool = as_object(value, f"tools[{i}]")
        if tool.get("type", "function") == "function":
            functions.append(read_tool(tool, f"tools[{i}]"))
        else:
            others.append(json.dumps(tool.get("type"))[:40])
    return functions, others


def _tool_choice(value: object) -> Wanted:
    """OpenAI's own tools do not exist here, so a choice of them leaves the reply free."""
    match value:
        case {"type": str() as kind} if kind not in ("function", "allowed_tools"):
            return Wanted("auto")
        case _:
            return read_tool_choice(value)
