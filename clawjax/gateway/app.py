"""The gateway's composition: dependencies in, one Starlette application out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import NoReturn

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from clawjax.gateway.collector import Collector
from clawjax.gateway.deps import GatewayDeps
from clawjax.gateway.failures import exception_handlers
from clawjax.gateway.gateway_log import GatewayLog
from clawjax.gateway.limits import LimitHeaders
from clawjax.gateway.middleware import CountRequests
from clawjax.gateway.origins import RefusePages
from clawjax.gateway.redacting import RedactingLog
from clawjax.gateway.redaction import Redactor
from clawjax.gateway.routes import gateway_routes
from clawjax.gateway.telemetry import MeasuredRequests, Telemetry
from clawjax.metrics.prometheus import Report
from clawjax.records import TurnKind

__all__ = ["GatewayDeps", "create_app"]

logger = logging.getLogger(__name__)


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
    routes = gateway_routes(deps, log, collector, telemetry)
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
