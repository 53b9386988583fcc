"""`POST /generate`: one answer or several, whole or as server-sent events.

Invariant: a client that leaves cancels what was asked for it; an error after the first event is an
event, followed by the end mark, as SGLang has it.
"""

from __future__ import annotations

import secrets
import time
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from clawjax.engine.server.answers import Answer, Json
from clawjax.engine.server.backend import Startup
from clawjax.engine.server.failures import failure_body
from clawjax.engine.server.generating import Generator
from clawjax.engine.server.wire import SEED_RANGE, GenerateCall, parse_generate
from clawjax.gateway.connection import read_object, run_while_connected
from clawjax.gateway.dialects.protocol import event
from clawjax.gateway.failures import StreamAborted

__all__ = ["GenerateRoute", "send_events"]

_END = b"data: [DONE]\n\n"
_HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache",
    "x-accel-buffering": "no",
}


class GenerateRoute:
    """An ASGI application."""

    def __init__(self, startup: Startup, *, max_body_bytes: int) -> None:
        """Answer when there is a backend."""
        self._startup = startup
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; errors before the first byte are raised."""
        http = Request(scope, receive)
        generator = self._startup.backend.generator
        body = await read_object(http, self._max_body_bytes)
        call = parse_generate(
            body,
            new_rid=lambda: uuid.uuid4().hex,
            draw_seed=lambda: secrets.randbelow(SEED_RANGE),
        )
        if call.is_stream:
            work = send_events(self._events(call, generator), send)
        else:
            work = self._whole(call, generator, scope, receive, send)
        await run_while_connected(work, receive)

    async def _whole(
        self, call: GenerateCall, generator: Generator, scope: Scope, receive: Receive, send: Send
    ) -> None:
        began = time.perf_counter()
        answers = await generator.finish_all(call.wanted)
        latency_s = time.perf_counter() - began
        bodies = [answer.body(latency_s) for answer in answers]
        await JSONResponse(bodies if call.is_batch else bodies[0])(scope, receive, send)

    async def _events(self, call: GenerateCall, generator: Generator) -> AsyncGenerator[Json]:
        began = time.perf_counter()

        def show(index: int, answer: Answer) -> Json:
            body = answer.body(time.perf_counter() - began)
            return body | {"index": index} if call.is_batch else body

        async with aclosing(generator.grow_all(call.wanted, show)) as events:
            async for event in events:
                yield event


async def send_events(events: AsyncGenerator[Json], send: Send) -> None:
    """Send bodies as events. The status goes with the first, so that its failure can have one."""
    async with aclosing(events):
        first = await anext(events)
        raw = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]
        await send({"type": "http.response.start", "status": 200, "headers": raw})
        await _send_event(first, send)
        try:
            async for body in events:
                await _send_event(body, send)
        except StreamAborted:
            raise
        except Exception as error:  # the response has begun: tell it in the stream
            await _send_event(failure_body(error)[1], send)
    await send({"type": "http.response.body", "body": _END, "more_body": False})


async def _send_event(body: Json, send: Send) -> None:
    data = event(body).encode()
    await send({"type": "http.response.body", "body": data, "more_body": True})
