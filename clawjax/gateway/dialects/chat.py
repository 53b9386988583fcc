"""`/v1/chat/completions`: OpenAI's chat dialect."""

from __future__ import annotations

from collections.abc import Sequence

from clawjax.gateway.completions import (
    Failure,
    Json,
    chunk_body,
    completion_body,
    delta_body,
    delta_fields,
    logprobs_body,
    usage_body,
)
from clawjax.gateway.dialects.protocol import Asked, Dialect, event
from clawjax.gateway.openai import parse_chat_request
from clawjax.gateway.parse import ReplyDelta
from clawjax.gateway.reply import Reply

__all__ = ["CHAT"]

_END = "data: [DONE]\n\n"


def _answer(asked: Asked, replies: Sequence[Reply]) -> Json:
    token_bytes = asked.token_bytes if asked.request.wants_logprobs else None
    return completion_body(asked.exchange, replies, token_bytes=token_bytes)


class _Writer:
    """Chunks; each choice begins with its role and ends with its reason."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._begun: set[int] = set()
        self._logprobs_sent: dict[int, int] = {}

    def grow(self, reply: Reply, deltas: Sequence[ReplyDelta]) -> str:
        return self._open(reply.choice) + "".join(self._delta(reply, delta) for delta in deltas)

    def finish(self, reply: Reply) -> str:
        body = delta_body(
            reply.choice,
            {},
            finish_reason=reply.finish_reason,
            logprobs=self._new_logprobs(reply),
        )
        return self._open(reply.choice) + self._chunk(body)

    def end(self, replies: Sequence[Reply]) -> str:
        if not self._asked.request.wants_usage:
            return _END
        usage = usage_body(self._asked.exchange, replies)
        return event(chunk_body(self._asked.exchange, [], usage)) + _END

    def fail(self, failure: Failure) -> str:
        return event(failure.body)

    def _open(self, choice: int) -> str:
        if choice in self._begun:
            return ""
        self._begun.add(choice)
        return self._chunk(delta_body(choice, {"role": "assistant", "content": ""}))

    def _delta(self, reply: Reply, delta: ReplyDelta) -> str:
        body = delta_body(reply.choice, delta_fields(delta), logprobs=self._new_logprobs(reply))
        return self._chunk(body)

    def _new_logprobs(self, reply: Reply) -> Json | None:
        if not self._asked.request.wants_logprobs:
            return None
        sent = self._logprobs_sent.get(reply.choice, 0)
        self._logprobs_sent[reply.choice] = len(reply.logprobs)
        return logprobs_body(reply.logprobs[sent:], self._asked.token_bytes)

    def _chunk(self, choice: Json) -> str:
        return event(chunk_body(self._asked.exchange, [choice]))


CHAT = Dialect(parse=parse_chat_request, answer=_answer, stream=_Writer)
