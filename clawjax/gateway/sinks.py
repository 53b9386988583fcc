"""Replies over HTTP: as one JSON body, or as server-sent events while they are sampled.

Knows HTTP and no dialect. Invariants: a stream whose reply did not become durable never ends
cleanly: it carries an error event, no end mark, and its connection is aborted. Events leave in the
order they were written, each whole. What leaves is valid UTF-8, whatever a model wrote.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from clawjax.gateway.completions import Failure, TokenBytes
from clawjax.gateway.dialects.protocol import Asked, Dialect, StreamWriter, compact
from clawjax.gateway.openai import ChatRequest
from clawjax.gateway.parse import ReplyDelta
from clawjax.gateway.reply import Exchange, Reply

__all__ = ["JsonSink", "StreamSink"]

SESSION_HEADER = "x-session-id"
NOTES_HEADER = "x-clawjax-notes"

_KEEP_ALIVE = ": keep-alive\n\n"


class JsonSink:
    """Waits for every choice, then answers."""

    def __init__(
        self,
        dialect: Dialect,
        request: ChatRequest,
        token_bytes: TokenBytes,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        eos_ids: frozenset[int] = frozenset(),
    ) -> None:
        self._dialect = dialect
        self._request = request
        self._token_bytes = token_bytes
        self._eos_ids = eos_ids
        self._asgi = (scope, receive, send)
        self._asked: Asked | None = None

    def begin(self, exchange: Exchange) -> None:
        """Remember what the answer begins with."""
        self._asked = Asked(self._request, exchange, self._token_bytes, self._eos_ids)

    async def write(self, reply: Reply, deltas: Sequence[ReplyDelta]) -> None:
        """Nothing leaves before the end."""

    async def finish(self, reply: Reply) -> None:
        """Nothing leaves before the end."""

    async def end(self, replies: Sequence[Reply]) -> None:
        """Send the whole body."""
        assert self._asked is not None
        body = self._dialect.answer(self._asked, replies)
        response = Response(
            compact(body).encode("utf-8", "replace"),
            media_type="application/json",
            headers=_headers(self._asked),
        )
        await response(*self._asgi)


class StreamSink:
    """Sends each token's text as it comes. The status is sent with the first."""

    def __init__(
        self,
        dialect: Dialect,
        request: ChatRequest,
        token_bytes: TokenBytes,
        send: Send,
        *,
        keep_alive_s: float,
        eos_ids: frozenset[int] = frozenset(),
    ) -> None:
        self._dialect = dialect
        self._request = request
        self._token_bytes = token_bytes
        self._eos_ids = eos_ids
        self._send = send
        self._keep_alive_s = keep_alive_s
        self._order = asyncio.Lock()
        """Keeps what concurrent choices send behind the response's start and in order."""
        self._asked: Asked | None = None
        self._writer: StreamWriter | None = None
        self._sent_at = time.monotonic()
        self.has_started = False
        """Whether a status has been sent; an error can be told as one until then."""
        self._has_ended = False

    def begin(self, exchange: Exchange) -> None:
        """Remember what each event begins with."""
        self._asked = Asked(self._request, exchange, self._token_bytes, self._eos_ids)
        self._writer = self._dialect.stream(self._asked)
        self._sent_at = time.monotonic()

    async def write(self, reply: Reply, deltas: Sequence[ReplyDelta]) -> None:
        """Send what is new of a choice."""
        await self._push(self._events.grow(reply, deltas))

    async def finish(self, reply: Reply) -> None:
        """Send a choice's finish reason."""
        await self._push(self._events.finish(reply))

    async def end(self, replies: Sequence[Reply]) -> None:
        """Send what comes last."""
        await self._push(self._events.end(replies), is_last=True)

    async def fail(self, failure: Failure) -> None:
        """Send an error event; the caller has to abort the connection."""
        await self._push(self._events.fail(failure))

    async def keep_alive(self) -> None:
        """Break every silence of `keep_alive_s` with a comment, for ever."""
        while True:
            silent_s = time.monotonic() - self._sent_at
            if silent_s >= self._keep_alive_s and self._asked is not None:
                await self._push(_KEEP_ALIVE)
                silent_s = 0.0
            await asyncio.sleep(max(self._keep_alive_s - silent_s, self._keep_alive_s / 10))

    @property
    def _events(self) -> StreamWriter:
        assert self._writer is not None
        return self._writer

    async def _push(self, text: str, *, is_last: bool = False) -> None:
        if not text and not is_last:
            return
        async with self._order:
            if self._has_ended:  # a comment that waited for the end
                return
            if not self.has_started:
                self.has_started = True
                await self._start()
            self._sent_at = time.monotonic()
            self._has_ended = is_last
            body = text.encode("utf-8", "replace")
            await self._send({"type": "http.response.body", "body": body, "more_body": not is_last})

    async def _start(self) -> None:
        assert self._asked is not None
        headers = {
            "content-type": "text/event-stream; charset=utf-8",
            "cache-control": "no-cache",
            "x-accel-buffering": "no",
            **_headers(self._asked),
        }
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        await self._send({"type": "http.response.start", "status": 200, "headers": raw})


def _headers(asked: Asked) -> dict[str, str]:
    headers = {SESSION_HEADER: asked.exchange.session_id}
    if asked.request.notes:
        headers[NOTES_HEADER] = "; ".join(asked.request.notes)
    return headers
