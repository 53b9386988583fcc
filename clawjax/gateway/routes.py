"""Every path of the gateway and what answers it."""

from __future__ import annotations

from starlette.routing import Route

from clawjax.gateway.admin import KeysEndpoint
from clawjax.gateway.auth import Authenticator
from clawjax.gateway.chat import ChatService
from clawjax.gateway.chat_endpoints import ChatEndpoint, TokenCountEndpoint
from clawjax.gateway.collector import Collector
from clawjax.gateway.deps import GatewayDeps
from clawjax.gateway.dialects.anthropic_reply import MESSAGES
from clawjax.gateway.dialects.chat import CHAT
from clawjax.gateway.dialects.protocol import Dialect
from clawjax.gateway.dialects.responses_reply import RESPONSES
from clawjax.gateway.dialects.text import TEXT
from clawjax.gateway.endpoints import (
    FeedbackEndpoint,
    ForgetEndpoint,
    HealthEndpoint,
    ModelsEndpoint,
    RootEndpoint,
)
from clawjax.gateway.feedback import FeedbackService
from clawjax.gateway.gateway_log import GatewayLog
from clawjax.gateway.limits import UnderWay
from clawjax.gateway.openapi import OpenApiEndpoint
from clawjax.gateway.previous import PreviousResponses
from clawjax.gateway.redacting import RedactingLog
from clawjax.gateway.render import Renderer
from clawjax.gateway.review import ReviewEndpoint, review_routes
from clawjax.gateway.stored import stored_routes
from clawjax.gateway.telemetry import MetricsEndpoint, Telemetry

__all__ = ["gateway_routes"]

_REPLIES = {
    "/v1/chat/completions": CHAT,
    "/v1/responses": RESPONSES,
    "/v1/messages": MESSAGES,
    "/v1/completions": TEXT,
}
"""One path per dialect; all of them answer by the same service."""


def gateway_routes(
    deps: GatewayDeps, log: GatewayLog, collector: Collector, telemetry: Telemetry
) -> list[Route]:
    """All routes, those that tell of the others last.

    Args:
        deps: what the gateway is made of.
        log: `deps.log`, or what redacts before it.
        collector: takes what is asked and replied.
        telemetry: counts and measures.
    """
    authenticator = Authenticator(deps.keys)
    is_redacted = isinstance(log, RedactingLog)
    previous = PreviousResponses(log, log.as_said) if is_redacted else PreviousResponses(log)
    routes = [
        *_chat_routes(deps, _chat_service(deps, collector), authenticator, previous, telemetry),
        *stored_routes(previous, authenticator, deps.forget, collector.let_go),
        _feedback_route(deps, log, collector, authenticator),
        *_model_routes(deps, authenticator),
        *_key_routes(deps, authenticator),
        _health_route(deps),
    ]
    if deps.config.metrics != "off":
        is_guarded = deps.config.metrics == "admin"
        metrics = MetricsEndpoint(telemetry, authenticator, needs_admin=is_guarded)
        routes.append(Route("/metrics", metrics.tell, methods=["GET"]))
    if deps.forget is not None:
        forgetting = ForgetEndpoint(deps.forget, collector.let_go, authenticator)
        path = "/v1/sessions/{session_id:path}"
        routes.append(Route(path, forgetting.forget, methods=["DELETE"]))
    if deps.review is not None:
        endpoint = ReviewEndpoint(
            deps.review,
            authenticator,
            deps.clock,
            deps.config.max_body_bytes,
            recalls_reactions=deps.recalls_reactions,
        )
        routes += review_routes(endpoint)
    described = OpenApiEndpoint(routes, deps.config)
    routes.append(Route("/openapi.json", described.tell, methods=["GET"]))
    root = RootEndpoint(deps.model_name, tuple(dict.fromkeys(route.path for route in routes)))
    routes.append(Route("/", root.tell, methods=["GET"]))
    return routes


def _chat_service(deps: GatewayDeps, collector: Collector) -> ChatService:
    renderer = Renderer(
        deps.tokenizer,
        tool_parser=deps.config.tool_parser,
        reasoning_parser=deps.config.reasoning_parser,
    )
    return ChatService(
        deps.engine,
        renderer,
        collector,
        model_name=deps.model_name,
        request_timeout_s=deps.config.request_timeout_s,
        max_prompt_tokens=deps.config.limits.max_prompt_tokens,
        shares_prefixes=deps.sampling_defaults.shares_prefixes,
        clock=deps.clock,
    )


def _chat_routes(
    deps: GatewayDeps,
    chat: ChatService,
    authenticator: Authenticator,
    previous: PreviousResponses,
    telemetry: Telemetry,
) -> list[Route]:
    """What asks the model, or how long a prompt is; a key's bound is on all of it together."""
    under_way = UnderWay(deps.config.max_requests_per_key)

    def replies(dialect: Dialect) -> ChatEndpoint:
        return ChatEndpoint(
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

    counting = TokenCountEndpoint(
        MESSAGES,
        chat,
        authenticator,
        config=deps.config,
        sampling_defaults=deps.sampling_defaults,
        under_way=under_way,
    )
    return [
        *(Route(path, replies(dialect), methods=["POST"]) for path, dialect in _REPLIES.items()),
        Route("/v1/messages/count_tokens", counting.count, methods=["POST"]),
    ]


def _feedback_route(
    deps: GatewayDeps, log: GatewayLog, collector: Collector, authenticator: Authenticator
) -> Route:
    service = FeedbackService(
        log,
        collector,
        clock=deps.clock,
        on_linked=deps.on_linked,
        reads_ratings=deps.reads_ratings,
        recalls_reactions=deps.recalls_reactions,
    )
    feedback = FeedbackEndpoint(service, authenticator, deps.config.max_body_bytes)
    return Route("/v1/feedback", feedback.give, methods=["POST"])


def _model_routes(deps: GatewayDeps, authenticator: Authenticator) -> list[Route]:
    models = ModelsEndpoint(
        deps.engine, authenticator, model_name=deps.model_name, created=int(deps.clock())
    )
    return [
        Route("/v1/models", models.list_all, methods=["GET"]),
        Route("/api/v1/models", models.list_all, methods=["GET"]),
        Route("/v1/models/{model_id:path}", models.get_one, methods=["GET"]),
    ]


def _key_routes(deps: GatewayDeps, authenticator: Authenticator) -> list[Route]:
    keys = KeysEndpoint(deps.keys, authenticator, deps.clock)
    return [
        Route("/v1/keys", keys.list_all, methods=["GET"]),
        Route("/v1/keys/{key_id}", keys.revoke, methods=["DELETE"]),
    ]


def _health_route(deps: GatewayDeps) -> Route:
    health = HealthEndpoint(
        deps.engine,
        deps.loop_status,
        deps.turn_counts,
        model_name=deps.model_name,
        run_name=deps.run_name,
    )
    return Route("/healthz", health.check, methods=["GET"])
