"""Replies over HTTP: as one JSON body, or as server-sent events while they are sampled.

Invariant: a stream whose reply did not become durable never ends cleanly: it carries an error
event, no `[DONE]`, and its connection is aborted.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from clawjax.gateway.completions import (
    Failure,
    Json,
    TokenBytes,
    chunk_body,
    completion_body,
    delta_body,
    delta_fields,
    logprobs_body,
    usage_body,
)
from clawjax.gateway.openai import ChatRequest
from clawjax.gateway.parse import ReplyDelta
from clawjax.gateway.reply import Exchange, Reply

__all__ = ["JsonSink", "StreamSink"]

SESSION_HEADER = "x-session-id"


class JsonSink:
    """Waits for every choice, then answers."""

    def __init__(
        self,
        request: ChatRequest,
        token_bytes: TokenBytes,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        self._token_bytes = token_bytes if request.wants_logprobs else None
        self._asgi = (scope, receive, send)
        self._exchange: Exchange | None = None

    def begin(self, exchange: Exchange) -> None:
        """Remember what the answer begins with."""
        self._exchange = exchange

    async def write(self, reply: Reply, deltas: Sequence[ReplyDelta]) -> None:
        """Nothing leaves before the end."""

    async def finish(self, reply: Reply) -> None:
        """Nothing leaves before the end."""

    async def end(self, replies: Sequence[Reply]) -> None:
        """Send the whole body."""
        assert self._exchange is not None
        body = completion_body(self._exchange, replies, token_bytes=self._token_bytes)
        headers = {SESSION_HEADER: self._exchange.session_id}
        await JSONResponse(body, headers=headers)(*self._asgi)

    @property
    def has_started(self) -> bool:
        """Whether a status has been sent; an error can be told as one until then."""
        return False


class StreamSink:
    """Sends each token's text as it comes. The status is sent with the first."""

    def __init__(self, request: ChatRequest, token_bytes: TokenBytes, send: Send) -> None:
        self._wants_usage = request.wants_usage
        self._token_bytes = token_bytes if request.wants_logprobs else None
        self._send = send
        self._order = asyncio.Lock()
        """Keeps the events of concurrent choices whole and behind the response's start."""
        self._exchange: Exchange | None = None
        self._begun: set[int] = set()
        self._logprobs_sent: dict[int, int] = {}
        self.has_started = False

    def begin(self, exchange: Exchange) -> None:
        """Remember what each event begins with."""
        self._exchange = exchange

    async def write(self, reply: Reply, deltas: Sequence[ReplyDelta]) -> None:
        """Send what is new of a choice."""
        async with self._order:
            await self._open_choice(reply.choice)
            for delta in deltas:
                fields = delta_fields(delta)
                logprobs = self._new_logprobs(reply)
                await self._event(delta_body(reply.choice, fields, logprobs=logprobs))

    async def finish(self, reply: Reply) -> None:
        """Send a choice's finish reason."""
        async with self._order:
            await self._open_choice(reply.choice)
            logprobs = self._new_logprobs(reply)
            reason = reply.finish_reason
            await self._event(delta_body(reply.choice, {}, finish_reason=reason, logprobs=logprobs))

    async def end(self, replies: Sequence[Reply]) -> None:
        """Send the usage where it was asked for, then the end mark."""
        assert self._exchange is not None
        if self._wants_usage:
            usage = usage_body(self._exchange, replies)
            await self._send_event(chunk_body(self._exchange, [], usage))
        await self._send_body(b"data: [DONE]\n\n", is_last=True)

    async def fail(self, failure: Failure) -> None:
        """Send an error event; the caller has to abort the connection."""
        async with self._order:
            await self._send_event(failure.body)

    async def _open_choice(self, choice: int) -> None:
        if not self.has_started:
            self.has_started = True
            await self._start()
        if choice not in self._begun:
            self._begun.add(choice)
            await self._event(delta_body(choice, {"role": "assistant", "content": ""}))

    async def _start(self) -> None:
        assert self._exchange is not None
        headers = {
            "content-type": "text/event-stream; charset=utf-8",
            "cache-control": "no-cache",
            "x-accel-buffering": "no",
            SESSION_HEADER: self._exchange.session_id,
        }
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        await self._send({"type": "http.response.start", "status": 200, "headers": raw})

    def _new_logprobs(self, reply: Reply) -> Json | None:
        if self._token_bytes is None:
            return None
        sent = self._logprobs_sent.get(reply.choice, 0)
        self._logprobs_sent[reply.choice] = len(reply.logprobs)
        return logprobs_body(reply.logprobs[sent:], self._token_bytes)

    async def _event(self, choice: Json) -> None:
        assert self._exchange is not None
        await self._send_event(chunk_body(self._exchange, [choice]))

    async def _send_event(self, body: Mapping[str, Any]) -> None:
        text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
        await self._send_body(f"data: {text}\n\n".encode())

    async def _send_body(self, body: bytes, *, is_last: bool = False) -> None:
        more = not is_last
        await self._send({"type": "http.response.body", "body": body, "more_body": more})
