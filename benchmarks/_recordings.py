"""Requests of real clients, as recorded, with the replies they must have been given.

A recording holds requests only. What was replied to one stands in the history of the request that
goes on from it, in the client's spelling; `links.json` says by hand which one that is, and the
reply is put back into a server's spelling: whitespace at its end, ids and spaces in its calls.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from clawjax.config import LinkingConfig
from clawjax.gateway.caller import read_caller
from clawjax.linking.canonical import canonical_history
from clawjax.linking.linker import LinkDecision, Linker, note
from clawjax.linking.reading import Asked
from clawjax.linking.tree import SessionRef, Tree
from clawjax.records import (
    FinishReason,
    Message,
    SamplingParams,
    ToolCall,
    Turn,
    TurnKind,
)

__all__ = [
    "CLIENTS",
    "RECORDINGS",
    "SAMPLES",
    "Expected",
    "Request",
    "decided",
    "expected",
    "linked",
    "reply_to",
    "requests",
]

RECORDINGS = Path("/work/shared/data/clients")
"""All recordings, where they are; too large for the repository."""
SAMPLES = Path(__file__).parents[1] / "tests" / "data" / "clients"
"""Some of them, with shortened system prompts, and what is expected of all."""
_LINKS: dict[str, dict[str, list[Any]]] = json.loads(
    (SAMPLES / "links.json").read_text(encoding="utf-8")
)
CLIENTS = tuple(_LINKS)

_REFUSED = ("503", "429ra1", "401", "400ctx", "hang")
_CUT = ("cut", "eof")


@dataclass(frozen=True, slots=True)
class Expected:
    """What a request is, decided by hand."""

    link: str
    kind: str = "main"
    parent: int | None = None
    of: int | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """One recorded request, translated."""

    number: int
    path: str
    headers: Mapping[str, str]
    body: Mapping[str, Any]
    asked: Asked
    fault: str | None

    @property
    def is_refused(self) -> bool:
        """Whether nothing was sampled for it."""
        return self.fault in _REFUSED

    @property
    def is_cut(self) -> bool:
        """Whether its reply broke off."""
        return self.fault in _CUT


def expected(client: str) -> dict[int, Expected]:
    """By number of request: `[link, kind, parent, of]`, as far as needed."""
    return {int(number): Expected(*values) for number, values in _LINKS[client].items()}


def decided(placement: LinkDecision) -> Expected:
    """What the linker made of a request, to compare."""
    parent, of = placement.parent, placement.of
    return Expected(
        placement.kind.value,
        placement.judged.kind.value,
        None if parent is None else int(parent.node.turn_id),
        None if of is None else int(of.node.turn_id),
    )


def linked(
    asked: Sequence[Request], links: Mapping[int, Expected]
) -> Iterator[tuple[Request, LinkDecision]]:
    """Place the requests of a recording one after the other, as a gateway would."""
    linker = Linker(Tree(), LinkingConfig())
    for index, request in enumerate(asked):
        placement = linker.place(request.asked)
        yield request, placement
        note(placement)
        if not request.is_refused:
            session = placement.session or SessionRef(request.asked.scope, f"s{request.number}")
            turn = _turn(request, asked[index + 1 :], links, session, placement.judged.kind)
            linker.add(turn, placement.link(turn.turn_id), placement.reading)


def requests(path: Path, *, scope: str = "recorded") -> list[Request]:
    """The requests for replies in a recording, in their order."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        entry: dict[str, Any] = json.loads(line)
        if "body" not in entry:
            continue
        headers = {name.lower(): value for name, value in entry["headers"].items()}
        body = entry["body"]
        is_constrained = body.get("response_format") is not None  # no other dialect's asks for one
        caller = read_caller(headers, body, scope=scope, is_constrained=is_constrained)
        messages = tuple(_messages(entry["path"], body))
        tools = json.dumps(_tools(body.get("tools") or [])) if body.get("tools") else None
        found.append(
            Request(
                number=entry["i"],
                path=entry["path"],
                headers=headers,
                body=body,
                asked=Asked(scope, caller.origin, messages, tools, entry["t"]),
                fault=entry.get("fault"),
            )
        )
    return found


def reply_to(
    request: Request, following: Sequence[Request], links: Mapping[int, Expected]
) -> Message:
    """What was replied to a request, or the part of it that was sent before it broke off."""
    if request.is_cut:
        return Message("assistant", _partial(request, following, links))
    for later in following:
        if links[later.number].parent == request.number:
            return _as_sent(_returned(request, later, links[later.number].link))
    return Message("assistant", f"Reply {request.number}, which nobody goes on from. ")


def _turn(
    request: Request,
    following: Sequence[Request],
    links: Mapping[int, Expected],
    session: SessionRef,
    kind: TurnKind,
) -> Turn:
    """The turn that a request became; its reply is in the history of one that goes on from it."""
    asked = request.asked
    return Turn(
        turn_id=str(request.number),
        session_id=session.session_id,
        parent_turn_id=None,
        response_id=f"r{request.number}",
        choice=0,
        kind=kind,
        scope=asked.scope,
        model="policy",
        messages=asked.messages,
        tools_json=asked.tools_json,
        reply=reply_to(request, following, links),
        prompt_ids=(1, 2, 3),
        response_ids=(4,),
        sampler_logprobs=(-0.5,),
        sampler_logprobs_t1=(-0.5,),
        token_versions=(),
        sampling=SamplingParams(64),
        finish_reason=FinishReason.CANCELLED if request.is_cut else FinishReason.STOP,
        arrived_at=asked.arrived_at,
        finished_at=asked.arrived_at + 0.01,
        seed=0,
    )


def _returned(request: Request, later: Request, link: str) -> Message:
    """The reply where it came back: behind the replies before it, or behind a summary."""
    before = sum(message.role == "assistant" for message in request.asked.messages)
    replies = [message for message in later.asked.messages if message.role == "assistant"]
    return _assembled(replies[0 if link == "compacted" else before], later)


def _assembled(first: Message, later: Request) -> Message:
    """Words and calls in one message, where the dialect has them apart."""
    entries = canonical_history(later.asked.messages)
    at = later.asked.messages.index(first)
    entry = next(entry for entry in entries if entry.position == at)
    calls = tuple(ToolCall(f"call{i}", *call) for i, call in enumerate(entry.calls))
    return replace(first, content=entry.text, tool_calls=calls)


def _as_sent(reply: Message) -> Message:
    """In a server's spelling: with whitespace at the end, other ids, spaces, a thought."""
    calls = tuple(
        ToolCall(
            f"call_{number}9f",
            call.name,
            json.dumps(json.loads(call.arguments), indent=1),
        )
        for number, call in enumerate(reply.tool_calls)
    )
    content = f"{reply.content} \n" if reply.content else ""
    return Message("assistant", content, calls, reasoning="I think about it.")


def _partial(request: Request, following: Sequence[Request], links: Mapping[int, Expected]) -> str:
    """More than what the client kept of a reply that broke off, if it kept anything."""
    kept = ""
    for later in following:
        if links[later.number].of == request.number:
            last = later.asked.messages[-1]
            kept = last.content if last.role == "assistant" else ""
            break
    return f"{kept}Stub answer that broke o" if kept else f"Stub {request.number} that broke o"


# --- dialects ------------------------------------------------------------------------------------


def _messages(path: str, body: Mapping[str, Any]) -> Iterator[Message]:
    if path.startswith("/v1/messages"):
        system = _text(body.get("system"))
        if system:
            yield Message("system", system)
        for entry in body["messages"]:
            yield from _anthropic(entry)
    elif path.startswith("/v1/responses"):
        if body.get("instructions"):
            yield Message("system", body["instructions"])
        items = body["input"]
        for item in [{"role": "user", "content": items}] if isinstance(items, str) else items:
            yield from _responses(item)
    else:
        for entry in body["messages"]:
            yield _chat(entry)


def _chat(entry: Mapping[str, Any]) -> Message:
    calls = tuple(
        ToolCall(call["id"], call["function"]["name"], call["function"]["arguments"])
        for call in entry.get("tool_calls") or ()
    )
    role = "system" if entry["role"] == "developer" else entry["role"]
    return Message(role, _text(entry.get("content")), calls, entry.get("tool_call_id"))


def _anthropic(entry: Mapping[str, Any]) -> Iterator[Message]:
    """Results of tools are messages of their own, before the user's words."""
    content = entry["content"]
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
    for block in blocks:
        if block["type"] == "tool_result":
            yield Message("tool", _text(block.get("content")), tool_call_id=block["tool_use_id"])
    calls = tuple(
        ToolCall(block["id"], block["name"], json.dumps(block["input"]))
        for block in blocks
        if block["type"] == "tool_use"
    )
    text = _text([block for block in blocks if block["type"] == "text"])
    if text or calls:
        yield Message(entry["role"], text, calls)


def _responses(item: Mapping[str, Any]) -> Iterator[Message]:
    match item.get("type", "message"):
        case "message":
            role = "system" if item["role"] == "developer" else item["role"]
            yield Message(role, _text(item["content"]))
        case "function_call":
            call = ToolCall(item["call_id"], item["name"], item["arguments"])
            yield Message("assistant", "", (call,))
        case "function_call_output":
            yield Message("tool", _text(item["output"]), tool_call_id=item["call_id"])
        case _:  # thoughts
            return


def _text(content: Any) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    return "\n".join(part.get("text") or "" for part in content)


def _tools(tools: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Names only, in chat's form."""
    named = [tool.get("function", tool) for tool in tools]
    return [{"type": "function", "function": {"name": tool.get("name", "")}} for tool in named]
