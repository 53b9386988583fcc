"""HTTP in and out: bodies are read, checked and handed on; what comes back is sent.

Holds no state of conversations. Invariant: a client that leaves cancels what was done for it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import replace

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from clawjax.config import EngineConfig, GatewayConfig
from clawjax.errors import WireError
from clawjax.gateway.auth import Authenticator, Principal
from clawjax.gateway.caller import Caller, read_caller
from clawjax.gateway.chat import ChatService, Sink
from clawjax.gateway.completions import TokenBytes, failure_of, model_body
from clawjax.gateway.dialects.chat import CHAT
from clawjax.gateway.dialects.protocol import Dialect
from clawjax.gateway.failures import StreamAborted, report
from clawjax.gateway.feedback import FeedbackService, parse_feedback
from clawjax.gateway.limits import UnderWay, check_size
from clawjax.gateway.openai import ChatRequest
from clawjax.gateway.previous import PreviousResponses
from clawjax.gateway.sinks import JsonSink, StreamSink
from clawjax.gateway.stored import Forget
from clawjax.gateway.telemetry import MeasuredSink, Telemetry
from clawjax.gateway.wire import JsonObject, parse_object, storable
from clawjax.keys import Role
from clawjax.protocols import Engine
from clawjax.records import TurnKind
from clawjax.tasks import task_group

__all__ = [
    "MODEL_ALIAS",
    "ChatEndpoint",
    "FeedbackEndpoint",
    "ForgetEndpoint",
    "HealthEndpoint",
    "ModelsEndpoint",
    "RootEndpoint",
    "TokenCountEndpoint",
    "read_object",
    "run_while_connected",
]

_BODY_TIMEOUT_S = 60.0
_FAREWELL_S = 10.0
"""In which a client has to take the error event that ends its stream."""
MODEL_ALIAS = "policy"
"""Names whatever model is being served."""


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
        caller = read_caller(http.headers, body, scope=who.scope, is_logged=who.is_logged)
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
            return JSONResponse({"input_tokens": await self._chat.count_tokens(asked)})


class FeedbackEndpoint:
    """`POST /v1/feedback`."""

    def __init__(
        self, feedback: FeedbackService, authenticator: Authenticator, max_body_bytes: int
    ) -> None:
        self._feedback = feedback
        self._authenticator = authenticator
        self._max_body_bytes = max_body_bytes

    async def give(self, request: Request) -> Response:
        """Record feedback on a reply."""
        principal = self._authenticator.admit(request.headers, Role.FEEDBACK)
        body = await read_object(request, self._max_body_bytes)
        scope = principal.scope if principal.is_checked else None
        return JSONResponse(await self._feedback.give(parse_feedback(body), scope))


class ForgetEndpoint:
    """`DELETE /v1/sessions/{session_id}`."""

    def __init__(
        self,
        forget: Forget,
        let_go: Callable[[], Coroutine[None, None, None]],
        authenticator: Authenticator,
    ) -> None:
        self._forget = forget
        self._let_go = let_go
        self._authenticator = authenticator

    async def forget(self, request: Request) -> Response:
        """Take a session of the caller's own out of the log."""
        scope = self._authenticator.admit(request.headers, Role.CHAT).scope
        session_id = storable(request.path_params["session_id"], "session_id")
        gone = await asyncio.to_thread(self._forget, scope, session_id=session_id)
        if not gone.turn_ids:
            msg = f"session {session_id[:80]!r} does not exist: use the name of one of this key's"
            raise WireError(msg, status=404, code="not_found", param="session_id")
        await self._let_go()
        trained = {str(version): turns for version, turns in gone.trained.items()}
        return JSONResponse({"forgotten": len(gone.turn_ids), "trained_versions": trained})


class ModelsEndpoint:
    """`GET /v1/models` and `GET /v1/models/{model_id}`."""

    def __init__(
        self, engine: Engine, authenticator: Authenticator, *, model_name: str, created: int
    ) -> None:
        self._engine = engine
        self._authenticator = authenticator
        self._model_name = model_name
        self._created = created

    async def list_all(self, request: Request) -> Response:
        """The one model."""
        self._authenticator.admit(request.headers)
        return JSONResponse({"object": "list", "data": [self._body()]})

    async def get_one(self, request: Request) -> Response:
        """The one model, if it is meant."""
        self._authenticator.admit(request.headers)
        check_model(request.path_params["model_id"], self._model_name)
        return JSONResponse(self._body())

    def _body(self) -> dict[str, object]:
        limit = self._engine.status().context_length
        return model_body(self._model_name, created=self._created, context_length=limit)


class RootEndpoint:
    """`GET /` and `HEAD /`: some clients look whether anybody is there."""

    def __init__(self, model_name: str, paths: tuple[str, ...]) -> None:
        self._body = {"name": "clawjax", "model": model_name, "paths": list(paths)}

    async def tell(self, _: Request) -> Response:
        """What this is and where to ask."""
        return JSONResponse(self._body)


class HealthEndpoint:
    """`GET /healthz`: open to all, tells nothing about conversations."""

    def __init__(
        self,
        engine: Engine,
        loop_status: Callable[[], Mapping[str, object]],
        turn_counts: Callable[[], Mapping[str, object]],
        *,
        model_name: str,
        run_name: str = "",
    ) -> None:
        self._engine = engine
        self._names = {"model": model_name, "run": run_name}
        self._loop_status = loop_status
        self._turn_counts = turn_counts

    async def check(self, _: Request) -> Response:
        """200 while replies can be sampled, 503 otherwise."""
        status = self._engine.status()
        body = {
            "ok": status.is_healthy,
            **self._names,
            "version": status.version,
            "engine": {
                "running": status.running,
                "waiting": status.waiting,
                "slots": status.slots,
                "context_length": status.context_length,
                "generated_tokens": status.generated_tokens,
                "tokens_per_s": round(status.tokens_per_s, 2),
                "prompt_tokens": status.prompt_tokens,
                "cached_tokens": status.cached_tokens,
                "prefix_hit_rate": status.prefix_hit_rate,
            },
            "loops": dict(self._loop_status()),
            "counts": dict(self._turn_counts()),
        }
        return JSONResponse(body, status_code=200 if status.is_healthy else 503)


def check_model(name: str, available: str) -> None:
    """Refuse a model that is not served.

    Raises:
        WireError: 404.
    """
    if name not in (available, MODEL_ALIAS):
        msg = f"model {name[:80]!r} does not exist: use {available!r} (or {MODEL_ALIAS!r})"
        raise WireError(msg, status=404, code="model_not_found", param="model")


async def read_object(
    request: Request, max_bytes: int, *, may_be_empty: bool = False
) -> JsonObject:
    """Read a JSON object without ever holding more than `max_bytes`.

    Where it `may_be_empty`, no body at all is an object without entries.

    Raises:
        WireError: 413 over the limit, 408 where it does not arrive, 400 where it is no JSON object.
    """
    announced = request.headers.get("content-length", "0")
    if announced.isdecimal() and (len(announced) > 18 or int(announced) > max_bytes):
        raise _too_large(max_bytes)
    try:
        async with asyncio.timeout(_BODY_TIMEOUT_S):
            body = await _read(request, max_bytes)
    except TimeoutError as error:
        msg = f"the body has not arrived within {_BODY_TIMEOUT_S:.0f} s: send it again"
        raise WireError(msg, status=408, code="body_timeout") from error
    return {} if may_be_empty and not body else parse_object(body)


async def _read(request: Request, max_bytes: int) -> bytes:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > max_bytes:
            raise _too_large(max_bytes)
    return bytes(body)


async def run_while_connected(
    work: Coroutine[None, None, None],
    receive: Receive,
    *,
    beside: Coroutine[None, None, None] | None = None,
) -> None:
    """Run `work`, cancelling it when the client leaves. The body has to be read before.

    What runs `beside` it ends with it.
    """
    async with task_group() as group:
        working = group.create_task(work)
        watching = group.create_task(_until_disconnect(receive))
        watching.add_done_callback(lambda _: working.cancel())
        working.add_done_callback(lambda _: watching.cancel())
        if beside is not None:
            helping = group.create_task(beside)
            working.add_done_callback(lambda _: helping.cancel())


async def _until_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _too_large(max_bytes: int) -> WireError:
    msg = f"the body is larger than {max_bytes} bytes: send less, or raise gateway.max_body_bytes"
    return WireError(msg, status=413, code="body_too_large")
