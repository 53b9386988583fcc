"""`GET /openapi.json`: every route of the endpoint, described for programs.

Owns the document. Invariant: it has exactly the routes that the application has; what a schema
calls an error is answered with an error, and what it allows may still be refused for reasons that
no schema tells (a model that is not served, a prompt over the context).
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from clawjax.config import GatewayConfig
from clawjax.gateway import openapi_bodies as bodies

__all__ = ["OpenApiEndpoint", "document"]

Json = dict[str, Any]

_ERROR_TEXT = "refused; the message names the value, the limit and the fix"
_REPLY_HEADERS = (
    ("X-Session-Id", {"type": "string"}, "the conversation this request belongs to"),
    ("X-Turn-Type", {"enum": ["main", "side"]}, "whether the reply may be trained on"),
    ("X-Session-Done", {"type": "boolean"}, "nothing will follow in this session"),
    ("X-Priority", {"type": "integer", "minimum": 0, "maximum": 9}, "0 is the most urgent"),
    ("X-No-Training", {"type": "boolean"}, "answer, and keep nothing"),
)

_OPERATIONS: dict[tuple[str, str], Json] = {}
"""By path as it is routed and method."""


def _describe(path: str, method: str, summary: str, **more: Any) -> None:
    _OPERATIONS[path, method] = {"summary": summary} | more


def _body(schema: Json) -> Json:
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def _parameters(*named: tuple[str, Json, str], where: str) -> list[Json]:
    return [
        {"name": name, "in": where, "schema": schema, "description": text}
        | ({"required": True} if where == "path" else {})
        for name, schema, text in named
    ]


def _reply(path: str, summary: str, schema: Json) -> None:
    headers = _parameters(*_REPLY_HEADERS, where="header")
    streams = {"application/json": {"schema": {"type": "object"}}, "text/event-stream": {}}
    _describe(path, "post", summary, parameters=headers, requestBody=_body(schema), content=streams)


_reply("/v1/chat/completions", "Answer a chat, as OpenAI does", bodies.CHAT)
_reply("/v1/responses", "Answer a chat, as OpenAI's Responses do", bodies.RESPONSES)
_reply("/v1/messages", "Answer a chat, as Anthropic does", bodies.MESSAGES)
_reply("/v1/completions", "Go on with a text, as OpenAI does", bodies.TEXT)
_RESPONSE = _parameters(
    ("response_id", {"type": "string", "pattern": "^[^/]+$"}, "as the response said"), where="path"
)
_describe(
    "/v1/responses/{response_id}",
    "get",
    "A response of the caller's own, told again",
    parameters=_RESPONSE,
)
_describe(
    "/v1/responses/{response_id}",
    "delete",
    "Forget a response of the caller's own",
    parameters=_RESPONSE,
)
_describe(
    "/v1/responses/{response_id}/input_items",
    "get",
    "What it answered, page by page",
    parameters=[
        *_RESPONSE,
        *_parameters(
            ("order", {"enum": ["asc", "desc"]}, "desc where there is none"),
            ("limit", {"type": "integer", "minimum": 1, "maximum": 100}, "items of a page"),
            ("after", {"type": "string"}, "the last item of the page before"),
            where="query",
        ),
    ],
)
_describe(
    "/v1/messages/count_tokens",
    "post",
    "How many tokens such a request's prompt has",
    requestBody=_body(bodies.MESSAGES),
)
_describe("/v1/feedback", "post", "Rate a reply that was given", requestBody=_body(bodies.FEEDBACK))
_describe("/v1/models", "get", "The model that is served")
_describe("/api/v1/models", "get", "The same, where LM Studio's clients look")
_NAME: Json = {"type": "string", "minLength": 1}
_describe(
    "/v1/models/{model_id:path}",
    "get",
    "One model, if it is served",
    parameters=_parameters(("model_id", _NAME, "its name, or `policy`"), where="path"),
)
_describe("/v1/keys", "get", "The run's keys, for admins; nothing that opens anything")
_describe(
    "/v1/keys/{key_id}",
    "delete",
    "Refuse a key from the next request on; for admins",
    parameters=_parameters(
        ("key_id", {"type": "string", "pattern": "^[^/]+$"}, "from the list of keys"), where="path"
    ),
)
_describe(
    "/v1/sessions/{session_id:path}",
    "delete",
    "Forget a conversation of the caller's own",
    parameters=_parameters(("session_id", _NAME, "as `X-Session-Id` said"), where="path"),
)
_TURN = _parameters(
    ("turn_id", {"type": "string", "pattern": "^[^/]+$"}, "as a claim said"), where="path"
)
_describe("/v1/review", "get", "How many turns wait for people, for admins")
_describe("/v1/review/claim", "post", "A turn to label, or null; for admins")
_describe("/v1/review/undo", "post", "Take back the caller's newest label or skip; for admins")
_describe(
    "/v1/review/{turn_id}/label",
    "post",
    "Say how good a claimed turn was; for admins",
    parameters=_TURN,
    requestBody=_body(bodies.REVIEW),
)
_describe(
    "/v1/review/{turn_id}/skip", "post", "Give a claimed turn back; for admins", parameters=_TURN
)
_OPEN: Json = {"security": []}
_describe("/healthz", "get", "Whether replies can be sampled, and what each loop does", **_OPEN)
_describe(
    "/metrics", "get", "The same in numbers, for Prometheus", content={"text/plain": {}}, **_OPEN
)
_describe("/openapi.json", "get", "This document", **_OPEN)
_describe("/", "get", "What this is and where to ask", **_OPEN)


def document(routes: Sequence[Route], config: GatewayConfig) -> Json:
    """An OpenAPI 3.1 description of these routes.

    Raises:
        KeyError: a route is not described here.
    """
    paths: dict[str, Json] = {}
    for route in routes:
        for method in sorted(route.methods or {"GET"}):
            if method != "HEAD":
                described = _OPERATIONS[route.path, method.lower()]
                paths.setdefault(_path(route), {})[method.lower()] = _operation(described)
    limit = config.max_body_bytes
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "clawjax",
            "version": version("clawjax"),
            "description": f"A policy that learns from being used. Bodies have at most {limit} B.",
        },
        "security": [{"bearer": []}, {"key": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
            "schemas": {"Error": bodies.ERROR},
        },
    }


class OpenApiEndpoint:
    """`GET /openapi.json`."""

    def __init__(self, routes: Sequence[Route], config: GatewayConfig) -> None:
        """Describe `routes`, those that are added before the first request included."""
        self._routes = routes
        self._config = config

    async def tell(self, _: Request) -> Response:
        """The document."""
        return JSONResponse(document(self._routes, self._config))


def _path(route: Route) -> str:
    """As OpenAPI writes it: parameters without their converters."""
    return route.path_format


def _operation(described: Json) -> Json:
    content = described.get("content", {"application/json": {"schema": {"type": "object"}}})
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    kept = {name: value for name, value in described.items() if name != "content"}
    return kept | {
        "responses": {
            "200": {"description": "done", "content": content},
            "4XX": {"description": _ERROR_TEXT, "content": error},
            "5XX": {"description": "failed; nothing was the caller's fault"},
        }
    }
