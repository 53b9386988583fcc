"""Chat completions as OpenAI clients expect them: from records to JSON bodies.

Pure translation. Token bytes are looked up through a function, so that no tokenizer is known here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from clawjax.errors import EngineError, LogError, WireError
from clawjax.gateway.parse import ReplyDelta
from clawjax.gateway.reply import Exchange, Reply, TokenLogprob
from clawjax.openai_form import call_form
from clawjax.records import ToolCall
from clawjax.rendering.formats.base import CallDelta

__all__ = [
    "Failure",
    "Json",
    "TokenBytes",
    "chunk_body",
    "completion_body",
    "delta_body",
    "delta_fields",
    "failure_of",
    "logprobs_body",
    "model_body",
    "usage_body",
]

Json = dict[str, Any]
TokenBytes = Callable[[int], bytes]

_FAILURE_HEADERS: Mapping[int, Mapping[str, str]] = {
    401: {"www-authenticate": "Bearer"},
    429: {"retry-after": "1"},
    503: {"retry-after": "1"},
}


class Failure(NamedTuple):
    """An error response in OpenAI's shape."""

    status: int
    message: str
    kind: str = "server_error"
    code: str | None = None
    param: str | None = None

    @property
    def headers(self) -> dict[str, str]:
        """What a client is told besides: how to log in, when to come back."""
        return dict(_FAILURE_HEADERS.get(self.status, {}))

    @property
    def body(self) -> Json:
        """The JSON body, or the last event of a broken stream."""
        error = {
            "message": self.message,
            "type": self.kind,
            "param": self.param,
            "code": self.code,
        }
        return {"error": error}


def failure_of(error: Exception) -> Failure:
    """How a failure is told to the client; unexpected ones without their details."""
    match error:
        case WireError():
            return Failure(error.status, error.message, error.kind, error.code, error.param)
        case EngineError():
            # In a stream these words are all that agents know to ask again by: there is no status.
            return Failure(503, f"service unavailable: {error}", code="engine_unavailable")
        case LogError():
            msg = "the turn log cannot be read or written, see the server's log: try again later"
            return Failure(500, msg, code="log_unavailable")
        case TimeoutError():
            msg = "the reply took longer than gateway.request_timeout_s: ask for fewer tokens"
            return Failure(504, msg, code="timeout")
        case _:
            return Failure(500, "internal error, see the server's log: try again later")


def completion_body(
    exchange: Exchange, replies: Sequence[Reply], *, token_bytes: TokenBytes | None
) -> Json:
    """A whole chat completion; `token_bytes` only where log-probs were asked for."""
    return {
        **_head(exchange, "chat.completion"),
        "choices": [_choice(reply, token_bytes) for reply in replies],
        "usage": usage_body(exchange, replies),
    }


def chunk_body(exchange: Exchange, choices: Sequence[Json], usage: Json | None = None) -> Json:
    """One event of a stream."""
    body = {**_head(exchange, "chat.completion.chunk"), "choices": list(choices)}
    return body if usage is None else {**body, "usage": usage}


def delta_body(
    index: int, delta: Json, *, finish_reason: str | None = None, logprobs: Json | None = None
) -> Json:
    """What one choice adds to a stream."""
    return {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason}


def delta_fields(delta: ReplyDelta) -> Json:
    """The `delta` object of new content, reasoning or a call."""
    fields: Json = {}
    if delta.content:
        fields["content"] = delta.content
    if delta.reasoning:
        fields["reasoning_content"] = delta.reasoning
    if delta.call is not None:
        fields["tool_calls"] = [_call_delta(delta.call)]
    return fields


def _call_delta(delta: CallDelta) -> Json:
    """A call's beginning, with id and name, or more of its arguments."""
    begun = delta.begun
    more = {"function": {"arguments": delta.arguments}} if begun is None else _tool_call(begun)
    return {"index": delta.position, **more}


def logprobs_body(tokens: Sequence[TokenLogprob], token_bytes: TokenBytes) -> Json:
    """Log-probs at temperature 1 of the sampled tokens, with alternatives."""

    def entry(token_id: int, logprob: float) -> Json:
        piece = token_bytes(token_id)
        text = piece.decode("utf-8", errors="replace")
        return {"token": text, "logprob": logprob, "bytes": list(piece)}

    return {
        "content": [
            {
                **entry(token.token_id, token.logprob),
                "top_logprobs": [entry(*alternative) for alternative in token.alternatives],
            }
            for token in tokens
        ],
        "refusal": None,
    }


def usage_body(exchange: Exchange, replies: Sequence[Reply]) -> Json:
    """True token counts; the prompt, and what was known of it before, is counted once."""
    prompt, completion = len(exchange.prompt_ids), sum(reply.tokens for reply in replies)
    cached = min((reply.cached_tokens for reply in replies), default=0)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached},
    }


def model_body(name: str, *, created: int, context_length: int) -> Json:
    """One entry of the model list."""
    return {
        "id": name,
        "object": "model",
        "created": created,
        "owned_by": "clawjax",
        "context_length": context_length,
        "max_model_len": context_length,
    }


def _head(exchange: Exchange, kind: str) -> Json:
    return {
        "id": exchange.response_id,
        "object": kind,
        "created": int(exchange.arrived_at),
        "model": exchange.model,
        "session_id": exchange.session_id,
    }


def _choice(reply: Reply, token_bytes: TokenBytes | None) -> Json:
    said = reply.message
    message: Json = {
        "role": "assistant",
        "content": said.content or (None if said.tool_calls else ""),
    }
    if said.tool_calls:
        message["tool_calls"] = [_tool_call(call) for call in said.tool_calls]
    if said.reasoning is not None:
        message["reasoning_content"] = said.reasoning
    return {
        "index": reply.choice,
        "message": message,
        "logprobs": None if token_bytes is None else logprobs_body(reply.logprobs, token_bytes),
        "finish_reason": reply.finish_reason,
    }


def _tool_call(call: ToolCall) -> Json:
    return call_form(call.call_id, call.name, call.arguments)
