"""`/v1/responses` replies, whole and as events.

Invariant: the items of the last event are those that were streamed, in the same order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from clawjax.gateway.completions import Failure, Json
from clawjax.gateway.dialects.protocol import Asked, Dialect, event
from clawjax.gateway.dialects.responses import parse_responses_request
from clawjax.gateway.dialects.responses_items import (
    CallItem,
    Item,
    TextItem,
    ThoughtItem,
    call_item,
    message_item,
    thought_item,
)
from clawjax.gateway.parse import ReplyDelta
from clawjax.gateway.reply import Exchange, Reply
from clawjax.records import FinishReason, Message, Turn

__all__ = ["RESPONSES", "Counted", "finished_body", "item_id", "output_items"]


class Counted(NamedTuple):
    """Tokens of a response."""

    prompt: int
    reply: int
    cached: int | None
    """Of the prompt, read before; None: nobody knows any more."""
    reasoning: int | None
    """Of the reply; None as well."""


def _answer(asked: Asked, replies: Sequence[Reply]) -> Json:
    (reply,) = replies
    return _finished(asked, reply, output_items(asked.exchange.response_id, reply.message))


class _Writer:
    """Events; an item is open while more of it comes."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._sequence = 0
        self._items: list[Json] = []
        """Those that are done."""
        self._open: Item | None = None
        self._has_begun = False

    def grow(self, reply: Reply, deltas: Sequence[ReplyDelta]) -> str:
        return self._begin() + "".join(self._delta(delta) for delta in deltas)

    def finish(self, reply: Reply) -> str:
        text = self._begin()
        if self._open is None and not self._items:
            text += self._start(TextItem(self._next_id("msg")))
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
            if not isinstance(self._open, ThoughtItem):
                text += self._done() + self._start(ThoughtItem(self._next_id("rs")))
            text += self._more(delta.reasoning)
        if delta.content:
            if not isinstance(self._open, TextItem):
                text += self._done() + self._start(TextItem(self._next_id("msg")))
            text += self._more(delta.content)
        if delta.call is not None:
            if (begun := delta.call.begun) is not None:
                text += self._done() + self._start(CallItem(self._next_id("fc"), begun))
            if delta.call.arguments:
                text += self._more(delta.call.arguments)
        return text

    def _start(self, item: Item) -> str:
        self._open = item
        place = {"output_index": len(self._items)}
        added = self._event("response.output_item.added", **place, item=item.begun())
        return added + self._all(item.opening())

    def _more(self, new: str) -> str:
        assert self._open is not None
        self._open.held.append(new)
        return self._all([self._open.growth(new)])

    def _done(self) -> str:
        """Close the item that is open."""
        if self._open is None:
            return ""
        text, item = self._all(self._open.closing()), self._open.whole()
        place = {"output_index": len(self._items)}
        self._open = None
        self._items.append(item)
        return text + self._event("response.output_item.done", **place, item=item)

    def _all(self, events: Sequence[tuple[str, Json]]) -> str:
        """Events of the open item, each with its place."""
        assert self._open is not None
        place = {"item_id": self._open.item_id, "output_index": len(self._items)}
        return "".join(self._event(name, **place, **fields) for name, fields in events)

    def _next_id(self, prefix: str) -> str:
        """For an item that begins when the open one is done."""
        place = len(self._items) + (self._open is not None)
        return item_id(self._asked.exchange.response_id, prefix, f"n{place}")

    def _event(self, kind: str, **fields: Any) -> str:
        body = {"type": kind, "sequence_number": self._sequence, **fields}
        self._sequence += 1
        return event(body, kind)


# --- bodies --------------------------------------------------------------------------------------


def output_items(response_id: str, said: Message) -> list[Json]:
    """What a whole reply consists of: the thought, the text, the calls."""
    items: list[Json] = []
    if said.reasoning is not None:
        items.append(thought_item(item_id(response_id, "rs", "n0"), said.reasoning))
    if said.content or not said.tool_calls:
        items.append(message_item(item_id(response_id, "msg", f"n{len(items)}"), said.content))
    calls = enumerate(said.tool_calls, start=len(items))
    items += [call_item(item_id(response_id, "fc", f"n{n}"), c, c.arguments) for n, c in calls]
    return items


def finished_body(
    of: Exchange | Turn,
    finish_reason: FinishReason | None,
    items: Sequence[Json],
    echo: Mapping[str, object],
    counted: Counted,
) -> Json:
    """A response that has ended; `echo` is what its request asked for."""
    ending: Json = {"status": "completed"}
    if finish_reason is FinishReason.LENGTH:
        details = {"reason": "max_output_tokens"}
        ending = {"status": "incomplete", "incomplete_details": details}
    return {**_body(of, items, echo), **ending, "usage": _usage(counted)}


def item_id(response_id: str, prefix: str, place: str) -> str:
    """Letters and digits behind the prefix; the response's own with the item's place."""
    return f"{prefix}_{response_id.partition('_')[2]}{place}"


def _head(asked: Asked, items: Sequence[Json]) -> Json:
    return _body(asked.exchange, items, asked.request.echo)


def _body(of: Exchange | Turn, items: Sequence[Json], echo: Mapping[str, object]) -> Json:
    """What every form of the response has; clients' types insist on most of it."""
    return {
        "id": of.response_id,
        "object": "response",
        "created_at": int(of.arrived_at),
        "model": of.model,
        "session_id": of.session_id,
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
        **echo,
        "background": False,
        "output": list(items),
        "temperature": of.sampling.temperature,
        "top_p": of.sampling.top_p,
        "truncation": "disabled",
        "usage": None,
    }


def _finished(asked: Asked, reply: Reply, items: Sequence[Json]) -> Json:
    counted = Counted(
        prompt=len(asked.exchange.prompt_ids),
        reply=reply.tokens,
        cached=reply.cached_tokens,
        reasoning=reply.reasoning_tokens,
    )
    return finished_body(asked.exchange, reply.finish_reason, items, asked.request.echo, counted)


def _usage(counted: Counted) -> Json:
    return {
        "input_tokens": counted.prompt,
        "input_tokens_details": {"cached_tokens": counted.cached},
        "output_tokens": counted.reply,
        "output_tokens_details": {"reasoning_tokens": counted.reasoning},
        "total_tokens": counted.prompt + counted.reply,
    }


RESPONSES = Dialect(parse=parse_responses_request, answer=_answer, stream=_Writer)
