"""Failures as SGLang tells them, and who may ask at all.

SGLang has two shapes: `{"object": "error", ...}` for what is no such body, `{"error": {"message"}}`
for what is one and cannot be served. The OpenAI routes have OpenAI's, the gateway's own.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import Awaitable, Callable

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from clawjax.engine.server.answers import Json
from clawjax.errors import ClawError, WireError
from clawjax.gateway.completions import failure_of
from clawjax.gateway.failures import exception_handlers

__all__ = ["RequireKey", "failure_body", "handlers"]

logger = logging.getLogger(__name__)

_OPEN_PATHS = ("/health", "/health_generate")
_MALFORMED = ("invalid_type", "invalid_json")
_BEARER = b"bearer "
Handler = Callable[[Request, Exception], Awaitable[Response]]


class RequireKey:
    """ASGI middleware: every path but the health checks asks for the key."""

    def __init__(self, app: ASGIApp, api_key: str) -> None:
        """Compare with `api_key`, which never leaves here."""
        self._app = app
        self._api_key = api_key.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        is_open = scope["type"] != "http" or scope["path"] in _OPEN_PATHS
        if is_open or hmac.compare_digest(_credential(scope), self._api_key):
            await self._app(scope, receive, send)
            return
        headers = {"www-authenticate": "Bearer"}
        response = JSONResponse({"error": "Unauthorized"}, status_code=401, headers=headers)
        await response(scope, receive, send)


def failure_body(error: Exception) -> tuple[int, Json]:
    """Status and body of a failure; unexpected ones without their details."""
    failure = failure_of(error)
    if isinstance(error, WireError) and error.code in _MALFORMED:
        return failure.status, {
            "object": "error",
            "message": failure.message,
            "type": "Bad Request",
            "param": failure.param,
            "code": failure.status,
        }
    return failure.status, {"error": {"message": failure.message}}


def handlers() -> dict[type[Exception], Handler]:
    """For every kind of failure: OpenAI's shape under `/v1/`, SGLang's elsewhere."""
    openai = exception_handlers()

    def by_path(kind: type[Exception], native: Handler) -> Handler:
        async def handle(request: Request, error: Exception) -> Response:
            is_openai = request.url.path.startswith("/v1/")
            return await (openai[kind] if is_openai else native)(request, error)

        return handle

    native: dict[type[Exception], Handler] = {
        ClawError: _on_error,
        TimeoutError: _on_error,
        HTTPException: _on_http_error,
        ClientDisconnect: _on_disconnect,
        Exception: _on_error,
    }
    return {kind: by_path(kind, handler) for kind, handler in native.items()}


async def _on_error(request: Request, error: Exception) -> Response:
    status, body = failure_body(error)
    if status >= 500 and status not in (501, 503):
        logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
    headers = {"retry-after": "1"} if status == 503 else None
    return JSONResponse(body, status_code=status, headers=headers)


async def _on_http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    body = {"detail": error.detail}
    return JSONResponse(body, status_code=error.status_code, headers=error.headers)


async def _on_disconnect(_: Request, __: Exception) -> Response:
    return JSONResponse({"error": {"message": "The body ended early."}}, status_code=400)


def _credential(scope: Scope) -> bytes:
    for name, value in scope["headers"]:
        if name == b"authorization" and value.lower().startswith(_BEARER):
            return value[len(_BEARER) :].strip()
    return b""
