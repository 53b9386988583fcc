"""What the endpoint measures of its own work, and `GET /metrics`.

Owns the counters and histograms of requests and replies. Invariants: a request is counted once,
under the path it was routed to, so that no client can make labels; measuring a request delays it
by nothing that waits; nothing of what was said is measured but its length.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clawjax.gateway.auth import Authenticator
from clawjax.gateway.chat import Sink
from clawjax.gateway.parse import ReplyDelta
from clawjax.gateway.reply import Exchange, Reply
from clawjax.keys import Role
from clawjax.metrics.prometheus import Report, families

__all__ = ["MeasuredRequests", "MeasuredSink", "MetricsEndpoint", "Telemetry"]

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
_ELSEWHERE = "other"
"""The path of what is routed nowhere."""


class Telemetry:
    """The instruments of one application, with a registry of their own."""

    def __init__(self, report: Callable[[], Report]) -> None:
        """`report` is read at every scrape; it must not wait."""
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "clawjax_requests",
            "requests answered, by path and status; 0: the client had left",
            ("path", "method", "status"),
            registry=self.registry,
        )
        self.seconds = Histogram(
            "clawjax_request_seconds",
            "from a request's arrival to the last byte of its answer",
            ("path",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.first_token = Histogram(
            "clawjax_first_token_seconds",
            "from a request's arrival to the first token of its first reply",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.tokens = Counter(
            "clawjax_tokens",
            "of finished replies: in prompts, of those found in the prefix cache, drawn",
            ("kind",),
            registry=self.registry,
        )
        self.replies = Counter(
            "clawjax_replies",
            "finished replies, by how they ended and whether they may be trained on",
            ("finish_reason", "turn_kind"),
            registry=self.registry,
        )
        for kind in ("prompt", "cached", "response"):
            self.tokens.labels(kind)
        self.registry.register(_Gauges(report))


class _Gauges(Collector):
    """Reads the report when somebody looks."""

    def __init__(self, report: Callable[[], Report]) -> None:
        self._report = report

    def collect(self) -> Iterator[Metric]:
        return families(self._report())

    def describe(self) -> Iterator[Metric]:
        """Nothing in advance: what there is depends on the report."""
        return iter(())


class MeasuredSink:
    """A sink that measures what passes; choices of one exchange share their first token."""

    def __init__(self, sink: Sink, telemetry: Telemetry, arrived: float) -> None:
        """Hand on to `sink`; `arrived` is of `time.monotonic`."""
        self._sink = sink
        self._telemetry = telemetry
        self._arrived = arrived
        self._exchange: Exchange | None = None
        self._has_begun = False

    def begin(self, exchange: Exchange) -> None:
        """Hand on."""
        self._exchange = exchange
        self._sink.begin(exchange)

    async def write(self, reply: Reply, deltas: Sequence[ReplyDelta]) -> None:
        """Measure the first token, and hand on."""
        if not self._has_begun and reply.tokens:
            self._has_begun = True
            self._telemetry.first_token.observe(time.monotonic() - self._arrived)
        await self._sink.write(reply, deltas)

    async def finish(self, reply: Reply) -> None:
        """Count a reply that is complete and durable, and hand on."""
        assert self._exchange is not None
        assert reply.finish_reason is not None
        telemetry, exchange = self._telemetry, self._exchange
        telemetry.tokens.labels("prompt").inc(len(exchange.prompt_ids))
        telemetry.tokens.labels("cached").inc(reply.cached_tokens)
        telemetry.tokens.labels("response").inc(reply.tokens)
        telemetry.replies.labels(reply.finish_reason.value, exchange.kind.value).inc()
        await self._sink.finish(reply)

    async def end(self, replies: Sequence[Reply]) -> None:
        """Hand on."""
        await self._sink.end(replies)


class MeasuredRequests:
    """ASGI middleware: counts every request and how long it took."""

    def __init__(self, app: ASGIApp, telemetry: Telemetry, routes: Sequence[Route]) -> None:
        """Name requests by the first of `routes` that has their path."""
        self._app = app
        self._telemetry = telemetry
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and measure it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.monotonic(), 0

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        except Exception:
            status = status or 500  # what is sent for it is sent outside
            raise
        finally:
            path = self._path(scope)
            method = scope["method"] if path != _ELSEWHERE else _ELSEWHERE
            self._telemetry.requests.labels(path, method, str(status)).inc()
            self._telemetry.seconds.labels(path).observe(time.monotonic() - began)

    def _path(self, scope: Mapping[str, object]) -> str:
        found = (
            route.path for route in self._routes if route.matches(dict(scope))[0] is Match.FULL
        )
        return next(found, _ELSEWHERE)


class MetricsEndpoint:
    """`GET /metrics`, open as `/healthz` is or to admins alone."""

    def __init__(
        self, telemetry: Telemetry, authenticator: Authenticator, *, needs_admin: bool
    ) -> None:
        self._telemetry = telemetry
        self._authenticator = authenticator
        self._needs_admin = needs_admin

    async def tell(self, request: Request) -> Response:
        """All metrics, in the text format that the scraper asks for."""
        if self._needs_admin:
            self._authenticator.admit(request.headers, Role.ADMIN)
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(self._telemetry.registry), headers={"content-type": content_type})
