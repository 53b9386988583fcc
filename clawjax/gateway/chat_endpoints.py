"""Requests for replies: bodies are read, checked and handed to the chat service; replies are sent.

Holds no state of conversations. Invariant: a client that leaves cancels what was done for it.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import replace

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from clawjax.config import EngineConfig, GatewayConfig
from clawjax.gateway.auth import Authenticator, Principal
from clawjax.gateway.caller import Caller, read_caller
from clawjax.gateway.chat import ChatService, Sink
from clawjax.gateway.completions import TokenBytes, failure_of
from clawjax.gateway.connection import read_object, run_while_connected
from clawjax.gateway.dialects.chat import CHAT
from clawjax.gateway.dialects.protocol import Dialect
from clawjax.gateway.endpoints import check_model
from clawjax.gateway.failures import StreamAborted, report
from clawjax.gateway.limits import UnderWay, check_size
from clawjax.gateway.openai import ChatRequest
from clawjax.gateway.previous import PreviousResponses
from clawjax.gateway.sinks import JsonSink, StreamSink
from clawjax.gateway.telemetry import MeasuredSink, Telemetry
from clawjax.keys import Role
from clawjax.records import TurnKind

__all__ = ["ChatEndpoint", "TokenCountEndpoint"]

_FAREWELL_S = 10.0
"""In which a client has to take the error event that ends its stream."""


class ChatEndpoint:
    """A `POST` that is answered with replies, in one dialect: an ASGI application."""

    def __init__(
        self,
        chat: ChatService,
        authenticator: Authenticator,
        *,
        model_name: str,
        token_bytes: TokenBytes,
        config: GatewayConfig,
        sampling_defaults: EngineConfig,
        eos_ids: frozenset[int] = frozenset(),
        dialect: Dialect = CHAT,
        previous: PreviousResponses | None = None,
        under_way: UnderWay | None = None,
        telemetry: Telemetry | None = None,
    ) -> None:
        self._chat = chat
        self._under_way = under_way or UnderWay(None)
        self._telemetry = telemetry
        self._dialect = dialect
        self._previous = previous
        self._authenticator = authenticator
        self._model_name = model_name
        self._token_bytes = token_bytes
        self._eos_ids = eos_ids
        self._config = config
        self._sampling_defaults = sampling_defaults

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; errors before the first byte are raised."""
        http = Request(scope, receive)
        who = self._authenticator.admit(http.headers, Role.CHAT)
        with self._under_way.enter(who.scope):
            await self._serve(http, who, scope, receive, send)

    async def _serve(
        self, http: Request, who: Principal, scope: Scope, receive: Receive, send: Send
    ) -> None:
        arrived = time.monotonic()
        body = await read_object(http, self._config.max_body_bytes)
        request = self._dialect.parse(body, self._sampling_defaults)
        check_size(request, self._config.limits)
        if request.model is not None:
            check_model(request.model, self._model_name)
        caller = read_caller(
            http.headers,
            body,
            scope=who.scope,
            is_constrained=request.response_format is not None,
            is_logged=who.is_logged,
        )
        if request.prompt is not None:
            caller = replace(caller, origin=replace(caller.origin, said_kind=TurnKind.SIDE))
        if request.previous_response_id is not None and self._previous is not None:
            request = await self._previous.resume(request, caller.scope)
        if request.is_stream:
            await self._stream(request, caller, receive, send, arrived)
        else:
            sink = JsonSink(
                self._dialect,
                request,
                self._token_bytes,
                scope,
                receive,
                send,
                eos_ids=self._eos_ids,
            )
            work = self._chat.answer(request, caller, self._measured(sink, arrived))
            await run_while_connected(work, receive)

    def _measured(self, sink: Sink, arrived: float) -> Sink:
        return sink if self._telemetry is None else MeasuredSink(sink, self._telemetry, arrived)

    async def _stream(
        self, request: ChatRequest, caller: Caller, receive: Receive, send: Send, arrived: float
    ) -> None:
        sink = StreamSink(
            self._dialect,
            request,
            self._token_bytes,
            send,
            keep_alive_s=self._config.keep_alive_s,
            eos_ids=self._eos_ids,
        )
        work = self._answer(request, caller, sink, arrived)
        await run_while_connected(work, receive, beside=sink.keep_alive())

    async def _answer(
        self, request: ChatRequest, caller: Caller, sink: StreamSink, arrived: float
    ) -> None:
        try:
            await self._chat.answer(request, caller, self._measured(sink, arrived))
        except StreamAborted:  # whoever has been let go is told nothing
            raise
        except Exception as error:
            if not sink.has_started:
                raise
            report("a stream", error)
            with suppress(TimeoutError):  # whoever has stopped reading is not told
                async with asyncio.timeout(_FAREWELL_S):
                    await sink.fail(failure_of(error))
            msg = "a stream was broken off after its error event"
            raise StreamAborted(msg) from None


class TokenCountEndpoint:
    """`POST /v1/messages/count_tokens`."""

    def __init__(
        self,
        dialect: Dialect,
        chat: ChatService,
        authenticator: Authenticator,
        *,
        config: GatewayConfig,
        sampling_defaults: EngineConfig,
        under_way: UnderWay,
    ) -> None:
        self._dialect = dialect
        self._chat = chat
        self._authenticator = authenticator
        self._config = config
        self._under_way = under_way
        self._sampling_defaults = sampling_defaults

    async def count(self, request: Request) -> Response:
        """How many tokens the prompt of such a request has."""
        who = self._authenticator.admit(request.headers, Role.CHAT)
        with self._under_way.enter(who.scope):
            body = await read_object(request, self._config.max_body_bytes)
            asked = self._dialect.parse(body, self._sampling_defaults)
            check_size(asked, self._config.limits)
            tokens = await self._chat.count_tokens(asked, who.scope)
            return JSONResponse({"input_tokens": tokens})
