"""`/v1/responses` replies, whole and as events.

Invariant: the items of the last event are those that were streamed, in the same order.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

from clawjax.gateway.completions import Failure, Json
from clawjax.gateway.dialects.protocol import Asked, Dialect, event
from clawjax.gateway.dialects.responses import parse_responses_request
from clawjax.gateway.parse import ReplyDelta
from clawjax.gateway.reply import Reply
from clawjax.records import FinishReason, ToolCall

__all__ = ["RESPONSES"]


def _answer(asked: Asked, replies: Sequence[Reply]) -> Json:
    (reply,) = replies
    said = reply.message
    items: list[Json] = []
    if said.reasoning is not None:
        items.append(_reasoning(_item_id(asked, "rs", 0), said.reasoning))
    if said.content or not said.tool_calls:
        items.append(_message(_item_id(asked, "msg", len(items)), said.content))
    for call in said.tool_calls:
        items.append(_function_call(_item_id(asked, "fc", len(items)), call, call.arguments))
    return _finished(asked, reply, items)


class _Writer:
    """Events; an item is open while text of its kind keeps coming."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._sequence = 0
        self._items: list[Json] = []
        """Those that are done."""
        self._open: str | None = None
        """Kind of the open item."""
        self._text: list[str] = []
        """What the open item holds so far."""
        self._has_begun = False

    def grow(self, reply: Reply, deltas: Sequence[ReplyDelta]) -> str:
        return self._begin() + "".join(self._delta(delta) for delta in deltas)

    def finish(self, reply: Reply) -> str:
        text = self._begin()
        if self._open is None and not self._items:
            text += self._start("message")
        return text + self._done()

    def end(self, replies: Sequence[Reply]) -> str:
        (reply,) = replies
        body = _finished(self._asked, reply, self._items)
        return self._event(f"response.{body['status']}", response=body)

    def fail(self, failure: Failure) -> str:
        error = {"code": failure.code or failure.kind, "message": failure.message}
        body = {**_head(self._asked, self._items), "status": "failed", "error": error}
        return self._begin() + self._event("response.failed", response=body)

    def _begin(self) -> str:
        if self._has_begun:
            return ""
        self._has_begun = True
        body = {**_head(self._asked, []), "status": "in_progress"}
        created = self._event("response.created", response=body)
        return created + self._event("response.in_progress", response=body)

    def _delta(self, delta: ReplyDelta) -> str:
        text = ""
        if delta.reasoning:
            text += self._grown("reasoning", delta.reasoning)
        if delta.content:
            text += self._grown("message", delta.content)
        if delta.tool_call is not None:
            text += self._done() + self._call(delta.tool_call)
        return text

    def _grown(self, kind: str, new: str) -> str:
        started = "" if self._open == kind else self._done() + self._start(kind)
        self._text.append(new)
        if kind == "reasoning":
            return started + self._part("response.reasoning_summary_text.delta", delta=new)
        return started + self._part("response.output_text.delta", delta=new, logprobs=[])

    def _start(self, kind: str) -> str:
        self._open, self._text = kind, []
        if kind == "reasoning":
            item = {**_reasoning(self._item_id, ""), "summary": [], "status": "in_progress"}
            part, name = _summary_text(""), "response.reasoning_summary_part.added"
        else:
            item = {**_message(self._item_id, ""), "content": [], "status": "in_progress"}
            part, name = _output_text(""), "response.content_part.added"
        return self._added(item) + self._part(name, part=part)

    def _done(self) -> str:
        """Close the item that is open."""
        if self._open is None:
            return ""
        whole = "".join(self._text)
        if self._open == "reasoning":
            item = _reasoning(self._item_id, whole)
            text = self._part("response.reasoning_summary_text.done", text=whole)
            text += self._part("response.reasoning_summary_part.done", part=_summary_text(whole))
        else:
            item = _message(self._item_id, whole)
            text = self._part("response.output_text.done", text=whole, logprobs=[])
            text += self._part("response.content_part.done", part=_output_text(whole))
        self._open = None
        return text + self._closed(item)

    def _call(self, call: ToolCall) -> str:
        item_id = _item_id(self._asked, "fc", len(self._items))
        place = {"item_id": item_id, "output_index": len(self._items)}
        started = {**_function_call(item_id, call, ""), "status": "in_progress"}
        name = "response.function_call_arguments"
        return (
            self._added(started)
            + self._event(f"{name}.delta", **place, delta=call.arguments)
            + self._event(f"{name}.done", **place, name=call.name, arguments=call.arguments)
            + self._closed(_function_call(item_id, call, call.arguments))
        )

    @property
    def _item_id(self) -> str:
        """Of the open item."""
        prefix = "rs" if self._open == "reasoning" else "msg"
        return _item_id(self._asked, prefix, len(self._items))

    def _part(self, name: str, **fields: Any) -> str:
        """An event of the open item's only part."""
        index = "summary_index" if self._open == "reasoning" else "content_index"
        place = {"item_id": self._item_id, "output_index": len(self._items), index: 0}
        return self._event(name, **place, **fields)

    def _added(self, item: Json) -> str:
        index = len(self._items)
        return self._event("response.output_item.added", output_index=index, item=item)

    def _closed(self, item: Json) -> str:
        self._items.append(item)
        index = len(self._items) - 1
        return self._event("response.output_item.done", output_index=index, item=item)

    def _event(self, kind: str, **fields: Any) -> str:
        body = {"type": kind, "sequence_number": self._sequence, **fields}
        self._sequence += 1
        return event(body, kind)


# --- bodies --------------------------------------------------------------------------------------


def _head(asked: Asked, items: Sequence[Json]) -> Json:
    """What every form of the response has; clients' types insist on most of it."""
    request, exchange = asked.request, asked.exchange
    return {
        "id": exchange.response_id,
        "object": "response",
        "created_at": int(exchange.arrived_at),
        "model": exchange.model,
        "session_id": exchange.session_id,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "max_output_tokens": None,
        "metadata": {},
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "store": True,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "user": None,
        **request.echo,
        "background": False,
        "output": list(items),
        "temperature": exchange.sampling.temperature,
        "top_p": exchange.sampling.top_p,
        "truncation": "disabled",
        "usage": None,
    }


def _finished(asked: Asked, reply: Reply, items: Sequence[Json]) -> Json:
    ending: Json = {"status": "completed"}
    if reply.finish_reason is FinishReason.LENGTH:
        details = {"reason": "max_output_tokens"}
        ending = {"status": "incomplete", "incomplete_details": details}
    return {**_head(asked, items), **ending, "usage": _usage(asked, reply)}


def _usage(asked: Asked, reply: Reply) -> Json:
    prompt = len(asked.exchange.prompt_ids)
    return {
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": reply.cached_tokens},
        "output_tokens": reply.tokens,
        "output_tokens_details": {"reasoning_tokens": reply.reasoning_tokens},
        "total_tokens": prompt + reply.tokens,
    }


def _item_id(asked: Asked, prefix: str, index: int) -> str:
    """Letters and digits behind the prefix; the response's own with the item's place."""
    return f"{prefix}_{asked.exchange.response_id.partition('_')[2]}n{index}"


def _message(item_id: str, text: str) -> Json:
    return {
        "id": item_id,
        "type": "message",
        "status": "completed",
        "role": "assistant",
        "content": [_output_text(text)],
    }


def _reasoning(item_id: str, text: str) -> Json:
    """A thought as its own summary; what clients take for encrypted is only there to be kept."""
    return {
        "id": item_id,
        "type": "reasoning",
        "status": "completed",
        "summary": [_summary_text(text)],
        "encrypted_content": base64.b64encode(item_id.encode()).decode(),
    }


def _function_call(item_id: str, call: ToolCall, arguments: str) -> Json:
    return {
        "id": item_id,
        "type": "function_call",
        "status": "completed",
        "call_id": call.call_id,
        "name": call.name,
        "arguments": arguments,
    }


def _output_text(text: str) -> Json:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _summary_text(text: str) -> Json:
    return {"type": "summary_text", "text": text}


RESPONSES = Dialect(parse=parse_responses_request, answer=_answer, stream=_Writer)
