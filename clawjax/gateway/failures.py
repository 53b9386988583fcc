"""Failures as responses, in the shape of the dialect that was spoken, and told to the operator.

Invariant: what is unexpected reaches a client without its details.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Mapping

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from clawjax.errors import ClawError
from clawjax.gateway.completions import Failure, failure_of
from clawjax.gateway.dialects.anthropic_reply import failure_body

__all__ = ["StreamAborted", "exception_handlers", "failure_response", "report"]

logger = logging.getLogger(__name__)

_ANTHROPIC_PREFIX = "/v1/messages"


class StreamAborted(Exception):  # noqa: N818 - says what happened
    """Raised where a response cannot be ended well, so that the server drops the connection."""


def failure_response(
    path: str, failure: Failure, headers: Mapping[str, str] | None = None
) -> Response:
    """A failure in the shape of the dialect that is spoken at `path`."""
    merged = {**failure.headers, **(headers or {})}
    body = failure_body(failure) if path.startswith(_ANTHROPIC_PREFIX) else failure.body
    return JSONResponse(body, status_code=failure.status, headers=merged)


def _respond(
    request: Request, failure: Failure, headers: Mapping[str, str] | None = None
) -> Response:
    return failure_response(request.url.path, failure, headers)


async def _on_error(request: Request, error: Exception) -> Response:
    report(f"{request.method} {request.url.path}", error)
    return _respond(request, failure_of(error))


def report(what: str, error: Exception) -> None:
    """Tell the operator of what is not the client's fault.

    Only what is unexpected comes with a traceback: those of databases quote conversations.
    """
    if isinstance(error, ClawError | TimeoutError):
        if failure_of(error).status >= 500:
            logger.error("%s failed: %s", what, error or type(error).__name__)
    else:
        logger.error("%s failed", what, exc_info=error)


async def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    what = f"{request.method} {request.url.path[:200]}"
    match error.status_code:
        case 404:
            message, code = f"{what} does not exist: see the documentation", "not_found"
        case 405:
            allowed = (error.headers or {}).get("Allow", "another method")
            message, code = f"{what} is not allowed: use {allowed}", "method_not_allowed"
        case _:
            message, code = error.detail, None
    failure = Failure(error.status_code, message, "invalid_request_error", code)
    return _respond(request, failure, error.headers)


async def _on_disconnect(request: Request, _: Exception) -> Response:
    failure = Failure(400, "the body ended early", "invalid_request_error", "invalid_json")
    return _respond(request, failure)


def exception_handlers() -> dict[type[Exception], Callable[..., Coroutine[None, None, Response]]]:
    """Every failure as a response in the shape that the path's clients know."""
    return {
        ClawError: _on_error,
        TimeoutError: _on_error,
        HTTPException: _on_http_error,
        ClientDisconnect: _on_disconnect,
        Exception: _on_error,
    }
