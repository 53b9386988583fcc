"""`/v1/completions`: OpenAI's text dialect, a prompt that is continued as it is.

A text has no conversation that a judge could read, so its turn is a side turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

from clawjax.config import EngineConfig
from clawjax.gateway.completions import Failure, Json, TokenBytes, usage_body
from clawjax.gateway.dialects.protocol import Asked, Dialect, event
from clawjax.gateway.openai import MAX_CHOICES, ChatRequest, read_sampling
from clawjax.gateway.parse import ReplyDelta
from clawjax.gateway.reply import Reply, TokenLogprob
from clawjax.gateway.wire import (
    JsonObject,
    as_object,
    as_text,
    json_type,
    read_flag,
    read_integer,
    read_text,
    reject,
)
from clawjax.records import Message

__all__ = ["TEXT", "parse_text_request", "refuse_what_is_not_served"]

_DEFAULT_TOKENS = 16
"""What OpenAI's endpoint gives where no limit is named."""
_MAX_LOGPROBS = 20
_MAX_TOKEN_ID = 2**31 - 1
_END = "data: [DONE]\n\n"


def parse_text_request(body: JsonObject, defaults: EngineConfig) -> ChatRequest:
    """Validate a request body.

    Raises:
        WireError: 400, naming the field, what was found and what is expected.
    """
    refuse_what_is_not_served(body)
    prompt = _prompt(body.get("prompt"))
    stream_options = body.get("stream_options")
    options = {} if stream_options is None else as_object(stream_options, "stream_options")
    sampling = read_sampling(body, defaults)
    if body.get("max_tokens") is None and body.get("max_completion_tokens") is None:
        sampling = replace(sampling, max_response_tokens=_DEFAULT_TOKENS)
    logprobs = read_integer(body, "logprobs", 0, _MAX_LOGPROBS)
    shown = prompt if isinstance(prompt, str) else f"({len(prompt)} token ids)"
    return ChatRequest(
        model=read_text(body, "model"),
        messages=(Message("user", shown),),
        tools_json=None,
        sampling=sampling,
        choices=read_integer(body, "n", 1, MAX_CHOICES) or 1,
        is_stream=bool(read_flag(body, "stream")),
        wants_usage=bool(read_flag(options, "include_usage")),
        wants_logprobs=logprobs is not None,
        top_logprobs=logprobs or 0,
        prompt=prompt,
        id_prefix="cmpl",
    )


def refuse_what_is_not_served(body: JsonObject) -> None:
    """Of OpenAI's older form, what is served nowhere here.

    Raises:
        WireError: 400, naming the field.
    """
    if read_flag(body, "echo"):
        reject("echo", "the prompt is not repeated: put it before the text yourself")
    if read_text(body, "suffix"):
        reject("suffix", "text cannot be inserted: send what comes before only")
    best_of, choices = body.get("best_of"), body.get("n") or 1
    if best_of is not None and best_of != choices:
        reject("best_of", "replies are not ranked: ask for as many as you want with n")


def _prompt(value: object) -> str | tuple[int, ...]:
    match value:
        case str() if value:
            return as_text(value, "prompt")
        case [(str() | [int(), *_]) as only]:
            return _prompt(only)
        case [int(), *_] if all(_is_token(entry) for entry in value):
            return tuple(cast("list[int]", value))
        case [str() | list(), *rest]:
            reject("prompt", f"{len(rest) + 1} prompts are too many: send one a request")
        case _:
            expected = "a string that is not empty, or an array of token ids"
            reject("prompt", f"got {json_type(value)}, expected {expected}", code="invalid_type")


def _is_token(value: object) -> bool:
    if not isinstance(value, int) or isinstance(value, bool):
        return False
    return 0 <= value <= _MAX_TOKEN_ID


# --- answers -------------------------------------------------------------------------------------


def _answer(asked: Asked, replies: Sequence[Reply]) -> Json:
    shows = asked.request.wants_logprobs
    choices = [
        _choice(
            reply.choice,
            reply.message.content,
            finish_reason=reply.finish_reason,
            logprobs=_logprobs(reply.logprobs, asked.token_bytes, 0)[0] if shows else None,
        )
        for reply in replies
    ]
    return {**_head(asked), "choices": choices, "usage": usage_body(asked.exchange, replies)}


class _Writer:
    """Chunks have the form of the whole; each carries what is new."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._begun: set[int] = set()
        self._sent: dict[int, tuple[int, int]] = {}
        """Tokens whose log-probs were sent, and the characters they make, by choice."""

    def grow(self, reply: Reply, deltas: Sequence[ReplyDelta]) -> str:
        text = "".join(delta.content for delta in deltas)
        is_first = reply.choice not in self._begun
        self._begun.add(reply.choice)
        return self._chunk(reply, text) if text or is_first else ""

    def finish(self, reply: Reply) -> str:
        return self._chunk(reply, "", finish_reason=reply.finish_reason)

    def end(self, replies: Sequence[Reply]) -> str:
        if not self._asked.request.wants_usage:
            return _END
        usage = usage_body(self._asked.exchange, replies)
        return event({**_head(self._asked), "choices": [], "usage": usage}) + _END

    def fail(self, failure: Failure) -> str:
        return event(failure.body)

    def _chunk(self, reply: Reply, text: str, finish_reason: str | None = None) -> str:
        logprobs = self._new_logprobs(reply)
        choice = _choice(reply.choice, text, finish_reason=finish_reason, logprobs=logprobs)
        return event({**_head(self._asked), "choices": [choice]})

    def _new_logprobs(self, reply: Reply) -> Json | None:
        if not self._asked.request.wants_logprobs:
            return None
        tokens, offset = self._sent.get(reply.choice, (0, 0))
        body, end = _logprobs(reply.logprobs[tokens:], self._asked.token_bytes, offset)
        self._sent[reply.choice] = (len(reply.logprobs), end)
        return body


def _head(asked: Asked) -> Json:
    exchange = asked.exchange
    return {
        "id": exchange.response_id,
        "object": "text_completion",
        "created": int(exchange.arrived_at),
        "model": exchange.model,
        "session_id": exchange.session_id,
    }


def _choice(index: int, text: str, *, finish_reason: str | None, logprobs: Json | None) -> Json:
    return {"index": index, "text": text, "logprobs": logprobs, "finish_reason": finish_reason}


def _logprobs(
    tokens: Sequence[TokenLogprob], token_bytes: TokenBytes, offset: int
) -> tuple[Json, int]:
    """The old form, as parallel lists, and where in the text the next token begins."""

    def text(token_id: int) -> str:
        return token_bytes(token_id).decode("utf-8", errors="replace")

    body: Json = {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
    for token in tokens:
        piece = text(token.token_id)
        body["tokens"].append(piece)
        body["token_logprobs"].append(token.logprob)
        body["top_logprobs"].append({text(i): logprob for i, logprob in token.alternatives})
        body["text_offset"].append(offset)
        offset += len(piece)
    return body, offset


TEXT = Dialect(parse=parse_text_request, answer=_answer, stream=_Writer)
