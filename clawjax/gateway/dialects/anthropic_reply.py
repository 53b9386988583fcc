"""`/v1/messages` replies, whole and as events, token counts, and failures in Anthropic's shape.

Of a prompt's tokens Anthropic counts those read from a cache apart; together they are the prompt.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from clawjax.gateway.completions import Failure, Json
from clawjax.gateway.dialects.anthropic import MALFORMED, parse_messages_request
from clawjax.gateway.dialects.protocol import Asked, Dialect, event
from clawjax.gateway.parse import ReplyDelta
from clawjax.gateway.reply import Reply
from clawjax.records import FinishReason, ToolCall

__all__ = ["MESSAGES", "failure_body"]

_SIGNATURE = "Y2xhd2pheA=="
"""Thoughts are not signed here; clients drop those whose signature is empty."""

_KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}
_REASONS = {
    FinishReason.STOP: "end_turn",
    FinishReason.LENGTH: "max_tokens",
    FinishReason.TOOL_CALLS: "tool_use",
}


def failure_body(failure: Failure) -> Json:
    """An error as Anthropic's clients know it; over-long prompts also in Anthropic's words."""
    message = failure.message
    if failure.code == "context_length_exceeded":
        message = f"prompt is too long: {message}"
    fallback = "invalid_request_error" if failure.status < 500 else "api_error"
    error = {"type": _KINDS.get(failure.status, fallback), "message": message}
    return {"type": "error", "error": error}


def _answer(asked: Asked, replies: Sequence[Reply]) -> Json:
    (reply,) = replies
    said = reply.message
    content: list[Json] = []
    if said.reasoning is not None:
        content.append(_thinking(said.reasoning, _SIGNATURE))
    if said.content:
        content.append(_text(said.content))
    content += [_tool_use(call, _input(call.arguments)) for call in said.tool_calls]
    return {
        **_head(asked),
        "content": content or [_text("")],
        **_ending(asked, reply),
        "usage": _usage(asked, reply),
    }


class _Writer:
    """Events; a content block is open while text of its kind keeps coming."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._has_begun = False
        self._open: str | None = None
        """Kind of the open block."""
        self._held = ""
        """Arguments of the open call: whether they are an object is known when they are whole."""
        self._blocks = 0
        """How many were opened."""

    def grow(self, reply: Reply, deltas: Sequence[ReplyDelta]) -> str:
        return self._begin(reply) + "".join(self._delta(delta) for delta in deltas)

    def finish(self, reply: Reply) -> str:
        parts = [self._begin(reply)]
        if not self._blocks:
            parts.append(self._start("text", _text("")))
        parts.append(self._stop())
        usage = _usage(self._asked, reply)
        parts.append(_event("message_delta", delta=_ending(self._asked, reply), usage=usage))
        return "".join(parts)

    def end(self, replies: Sequence[Reply]) -> str:
        return _event("message_stop")

    def fail(self, failure: Failure) -> str:
        return event(failure_body(failure), "error")

    def _begin(self, reply: Reply) -> str:
        if self._has_begun:
            return ""
        self._has_begun = True
        message = {
            **_head(self._asked),
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": _usage(self._asked, reply),
        }
        return _event("message_start", message=message) + _event("ping")

    def _delta(self, delta: ReplyDelta) -> str:
        text = ""
        if delta.reasoning:
            text += self._grown("thinking", _thinking("", ""))
            text += self._added({"type": "thinking_delta", "thinking": delta.reasoning})
        if delta.content:
            text += self._grown("text", _text(""))
            text += self._added({"type": "text_delta", "text": delta.content})
        if delta.call is not None:
            if (begun := delta.call.begun) is not None:
                text += self._stop() + self._start("tool_use", _tool_use(begun, {}))
                self._held = ""
            self._held += delta.call.arguments
        return text

    def _grown(self, kind: str, block: Json) -> str:
        """Open a block of this kind where none is."""
        return "" if self._open == kind else self._stop() + self._start(kind, block)

    def _start(self, kind: str, block: Json) -> str:
        self._open = kind
        self._blocks += 1
        return _event("content_block_start", index=self._blocks - 1, content_block=block)

    def _added(self, delta: Json) -> str:
        return _event("content_block_delta", index=self._blocks - 1, delta=delta)

    def _stop(self) -> str:
        """Close the block that is open."""
        if self._open is None:
            return ""
        last = ""
        if self._open == "thinking":
            last = self._added({"type": "signature_delta", "signature": _SIGNATURE})
        elif self._open == "tool_use":
            whole = json.dumps(_input(self._held), ensure_ascii=False)
            last = self._added({"type": "input_json_delta", "partial_json": whole})
        self._open = None
        return last + _event("content_block_stop", index=self._blocks - 1)


def _event(kind: str, **fields: Any) -> str:
    return event({"type": kind, **fields}, kind)


def _head(asked: Asked) -> Json:
    return {
        "id": asked.exchange.response_id,
        "type": "message",
        "role": "assistant",
        "model": asked.exchange.model,
    }


def _text(text: str) -> Json:
    return {"type": "text", "text": text}


def _thinking(text: str, signature: str) -> Json:
    return {"type": "thinking", "thinking": text, "signature": signature}


def _tool_use(call: ToolCall, arguments: Json) -> Json:
    return {"type": "tool_use", "id": call.call_id, "name": call.name, "input": arguments}


def _input(arguments: str) -> Json:
    """The arguments as the object that Anthropic's clients insist on."""
    try:
        found: object = json.loads(arguments or "{}")
    except (ValueError, RecursionError):
        found = None
    return found if isinstance(found, dict) else {MALFORMED: arguments}


def _ending(asked: Asked, reply: Reply) -> Json:
    assert reply.finish_reason is not None
    found = _stop_sequence(asked, reply)
    reason = _REASONS[reply.finish_reason] if found is None else "stop_sequence"
    return {"stop_reason": reason, "stop_sequence": found}


def _stop_sequence(asked: Asked, reply: Reply) -> str | None:
    """The stop string that ended the reply: its text has none, so its tokens do.

    A token that ends replies is no text, though it is written as some.
    """
    words = asked.exchange.sampling.stop
    if not words or reply.finish_reason is not FinishReason.STOP:
        return None
    ends = asked.eos_ids.union(asked.exchange.sampling.stop_token_ids)
    if ends.intersection(reply.token_ids[-1:]):
        return None
    tail = reply.token_ids[-max(len(word.encode()) for word in words) :]
    text = b"".join(asked.token_bytes(token) for token in tail).decode(errors="replace")
    return next((word for word in words if word in text), None)


def _usage(asked: Asked, reply: Reply) -> Json:
    cached = reply.cached_tokens
    return {
        "input_tokens": len(asked.exchange.prompt_ids) - cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": cached,
        "output_tokens": reply.tokens,
        "output_tokens_details": {"thinking_tokens": reply.reasoning_tokens},
    }


MESSAGES = Dialect(parse=parse_messages_request, answer=_answer, stream=_Writer)
