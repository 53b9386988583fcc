"""The gateway's composition: dependencies in, one Starlette application out."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import NoReturn

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Route

from clawjax.config import EngineConfig, GatewayConfig
from clawjax.gateway.admin import KeysEndpoint
from clawjax.gateway.auth import Authenticator
from clawjax.gateway.chat import ChatService
from clawjax.gateway.collector import Collector
from clawjax.gateway.dialects.anthropic_reply import MESSAGES
from clawjax.gateway.dialects.chat import CHAT
from clawjax.gateway.dialects.protocol import Dialect
from clawjax.gateway.dialects.responses_reply import RESPONSES
from clawjax.gateway.dialects.text import TEXT
from clawjax.gateway.endpoints import (
    ChatEndpoint,
    FeedbackEndpoint,
    ForgetEndpoint,
    HealthEndpoint,
    ModelsEndpoint,
    RootEndpoint,
    TokenCountEndpoint,
)
from clawjax.gateway.failures import exception_handlers
from clawjax.gateway.feedback import FeedbackService
from clawjax.gateway.gateway_log import GatewayLog
from clawjax.gateway.limits import LimitHeaders, UnderWay
from clawjax.gateway.middleware import CountRequests
from clawjax.gateway.openapi import OpenApiEndpoint
from clawjax.gateway.origins import RefusePages
from clawjax.gateway.previous import PreviousResponses
from clawjax.gateway.redacting import RedactingLog
from clawjax.gateway.redaction import Redactor
from clawjax.gateway.render import Renderer, Tokenizer
from clawjax.gateway.review import review_routes
from clawjax.gateway.stored import Forget, stored_routes
from clawjax.gateway.telemetry import MeasuredRequests, MetricsEndpoint, Telemetry
from clawjax.keys import KeyRing
from clawjax.metrics.prometheus import Report
from clawjax.protocols import Engine
from clawjax.records import TurnKind
from clawjax.review.queue import ReviewQueue

__all__ = ["GatewayDeps", "create_app"]

logger = logging.getLogger(__name__)


def _nothing() -> Mapping[str, object]:
    return {}


def _nobody_to_wake() -> None:
    pass


@dataclass(frozen=True, slots=True)
class GatewayDeps:
    """What the gateway is made of."""

    engine: Engine
    tokenizer: Tokenizer
    log: GatewayLog
    config: GatewayConfig
    sampling_defaults: EngineConfig
    """Temperature, top-p and reply length where the client names none; whether keys share a cache
    of prefixes."""
    model_name: str
    run_name: str = ""
    """Told by `/healthz`, so that who asks knows whose endpoint it found."""
    keys: KeyRing = field(default_factory=KeyRing)
    """Who may ask; anybody where it has never had a key."""
    reads_ratings: bool = True
    """Whether a judge takes the numbers that users give to replies."""
    on_linked: Callable[[], None] = _nobody_to_wake
    """Called on the event loop when the log has something new for the judges."""
    loop_status: Callable[[], Mapping[str, object]] = _nothing
    """The loops' states for `/healthz`."""
    turn_counts: Callable[[], Mapping[str, object]] = _nothing
    """The turn log's balance for `/healthz`; must not touch the log itself."""
    latest_metrics: Callable[[], Mapping[str, float]] = dict
    """The newest value of every key in `metrics.jsonl`, for `/metrics`; must not read the file."""
    forget: Forget | None = None
    """Takes a session or a response out of the log; None: nobody may ask for it over HTTP."""
    review: ReviewQueue | None = None
    """What people are to judge; None: nobody is asked."""
    clock: Callable[[], float] = time.time


def create_app(deps: GatewayDeps) -> Starlette:
    """Build the application; `app.state.collector` is its `Collector`.

    Its lifespan rebuilds the open sessions from the log and closes idle ones.
    """
    log = _log_of(deps)
    collector = Collector(
        log,
        clock=deps.clock,
        on_linked=deps.on_linked,
        session_idle_s=deps.config.session_idle_s,
        linking=deps.config.linking,
        default_kind=TurnKind(deps.config.default_turn_kind),
    )
    telemetry = Telemetry(
        lambda: Report(
            deps.engine.status(),
            deps.loop_status(),
            deps.turn_counts(),
            deps.latest_metrics(),
            collector.sessions.counts(),
        )
    )
    routes = _routes(deps, log, collector, telemetry)
    app = Starlette(
        routes=routes,
        middleware=[
            Middleware(MeasuredRequests, telemetry=telemetry, routes=routes),
            Middleware(CountRequests, count=log.count),
            Middleware(LimitHeaders, max_bytes=deps.config.limits.max_header_bytes),
            *_pages(deps),
        ],
        exception_handlers=exception_handlers(),
        lifespan=_lifespan,
    )
    app.router.redirect_slashes = False
    app.state.collector = collector
    return app


def _pages(deps: GatewayDeps) -> list[Middleware]:
    """What pages of browsers may do: those that are allowed are told so as they ask (CORS)."""
    origins = [origin.lower() for origin in deps.config.allowed_origins]
    guard = Middleware(
        RefusePages,
        is_keyless=lambda: not deps.keys.is_required,
        origins=origins,
        hosts=deps.config.allowed_hosts,
    )
    if not origins:
        return [guard]
    allow = Middleware(
        CORSMiddleware,
        allow_origins=origins,
        allow_methods=["*"],
        allow_headers=["*"],
        allow_private_network=True,
    )
    return [guard, allow]


def _log_of(deps: GatewayDeps) -> GatewayLog:
    if not deps.config.redacted:
        return deps.log
    return RedactingLog(deps.log, Redactor(deps.config.redacted, deps.tokenizer.piece))


def _routes(
    deps: GatewayDeps, log: GatewayLog, collector: Collector, telemetry: Telemetry
) -> list[Route]:
    authenticator = Authenticator(deps.keys)
    chat = ChatService(
        deps.engine,
        Renderer(
            deps.tokenizer,
            tool_parser=deps.config.tool_parser,
            reasoning_parser=deps.config.reasoning_parser,
        ),
        collector,
        model_name=deps.model_name,
        request_timeout_s=deps.config.request_timeout_s,
        max_prompt_tokens=deps.config.limits.max_prompt_tokens,
        shares_prefixes=deps.sampling_defaults.shares_prefixes,
        clock=deps.clock,
    )
    feedback = FeedbackEndpoint(
        FeedbackService(
            log,
            collector,
            clock=deps.clock,
            on_linked=deps.on_linked,
            reads_ratings=deps.reads_ratings,
        ),
        authenticator,
        deps.config.max_body_bytes,
    )
    models = ModelsEndpoint(
        deps.engine, authenticator, model_name=deps.model_name, created=int(deps.clock())
    )
    health = HealthEndpoint(
        deps.engine,
        deps.loop_status,
        deps.turn_counts,
        model_name=deps.model_name,
        run_name=deps.run_name,
    )
    under_way = UnderWay(deps.config.max_requests_per_key)
    counting = TokenCountEndpoint(
        MESSAGES,
        chat,
        authenticator,
        config=deps.config,
        sampling_defaults=deps.sampling_defaults,
        under_way=under_way,
    )
    keys = KeysEndpoint(deps.keys, authenticator, deps.clock)
    is_redacted = isinstance(log, RedactingLog)
    previous = PreviousResponses(log, log.as_said) if is_redacted else PreviousResponses(log)
    routes = [
        *_reply_routes(deps, chat, authenticator, previous, telemetry, under_way),
        *stored_routes(previous, authenticator, deps.forget, collector.let_go),
        Route("/v1/messages/count_tokens", counting.count, methods=["POST"]),
        Route("/v1/feedback", feedback.give, methods=["POST"]),
        Route("/v1/models", models.list_all, methods=["GET"]),
        Route("/api/v1/models", models.list_all, methods=["GET"]),
        Route("/v1/models/{model_id:path}", models.get_one, methods=["GET"]),
        Route("/v1/keys", keys.list_all, methods=["GET"]),
        Route("/v1/keys/{key_id}", keys.revoke, methods=["DELETE"]),
        Route("/healthz", health.check, methods=["GET"]),
    ]
    if deps.config.metrics != "off":
        metrics = MetricsEndpoint(
            telemetry, authenticator, needs_admin=deps.config.metrics == "admin"
        )
        routes.append(Route("/metrics", metrics.tell, methods=["GET"]))
    if deps.forget is not None:
        forgetting = ForgetEndpoint(deps.forget, collector.let_go, authenticator)
        path = "/v1/sessions/{session_id:path}"
        routes.append(Route(path, forgetting.forget, methods=["DELETE"]))
    if deps.review is not None:
        max_bytes = deps.config.max_body_bytes
        routes += review_routes(deps.review, authenticator, deps.clock, max_bytes)
    described = OpenApiEndpoint(routes, deps.config)
    routes.append(Route("/openapi.json", described.tell, methods=["GET"]))
    root = RootEndpoint(deps.model_name, tuple(dict.fromkeys(route.path for route in routes)))
    routes.append(Route("/", root.tell, methods=["GET"]))
    return routes


def _reply_routes(
    deps: GatewayDeps,
    chat: ChatService,
    authenticator: Authenticator,
    previous: PreviousResponses,
    telemetry: Telemetry,
    under_way: UnderWay,
) -> list[Route]:
    """One path per dialect; all of them answer by the same service."""

    def route(path: str, dialect: Dialect) -> Route:
        endpoint = ChatEndpoint(
            chat,
            authenticator,
            model_name=deps.model_name,
            token_bytes=deps.tokenizer.piece,
            config=deps.config,
            sampling_defaults=deps.sampling_defaults,
            eos_ids=deps.tokenizer.eos_ids,
            dialect=dialect,
            previous=previous,
            under_way=under_way,
            telemetry=telemetry,
        )
        return Route(path, endpoint, methods=["POST"])

    return [
        route("/v1/chat/completions", CHAT),
        route("/v1/responses", RESPONSES),
        route("/v1/messages", MESSAGES),
        route("/v1/completions", TEXT),
    ]


@asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncGenerator[None]:
    collector: Collector = app.state.collector
    await collector.rebuild()
    async with asyncio.TaskGroup() as group:
        closing = group.create_task(_close_idle_sessions(collector))
        yield
        closing.cancel()


async def _close_idle_sessions(collector: Collector) -> NoReturn:
    """Whatever happens on the way; it rests before it looks again."""
    while True:
        try:
            await collector.run_idle_closer()
        except Exception:
            logger.exception("idle sessions stay open for now")
