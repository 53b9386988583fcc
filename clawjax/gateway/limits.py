"""What one request, and one key, may ask for.

Owns the wording of "too much": every refusal names the value, the limit and the setting. Used from
one event loop.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clawjax.config import LimitsConfig
from clawjax.errors import WireError
from clawjax.gateway.completions import failure_of
from clawjax.gateway.failures import StreamAborted
from clawjax.gateway.openai import ChatRequest
from clawjax.gateway.wire import reject

__all__ = ["LimitHeaders", "LimitSends", "UnderWay", "check_size"]

logger = logging.getLogger(__name__)


def check_size(request: ChatRequest, limits: LimitsConfig) -> None:
    """Refuse what is too large before anything is done for it.

    Raises:
        WireError: 400.
    """
    if len(request.messages) > limits.max_messages:
        reject(
            "messages",
            f"{len(request.messages)} are more than {limits.max_messages}: send fewer, or raise "
            "gateway.limits.max_messages",
        )
    if request.choices > limits.max_choices:
        reject(
            "n",
            f"{request.choices} is more than {limits.max_choices}: ask for fewer, or raise "
            "gateway.limits.max_choices",
        )


class UnderWay:
    """Counts each key's requests that are being answered."""

    def __init__(self, most: int | None) -> None:
        """Allow `most` per key; None allows any number."""
        self._most = most
        self._counts: Counter[str] = Counter()

    @contextmanager
    def enter(self, scope: str) -> Generator[None]:
        """Be one of a key's requests as long as the context lasts.

        Raises:
            WireError: 429, there are as many as there may be.
        """
        if self._most is not None and self._counts[scope] >= self._most:
            msg = (
                f"this key has {self._counts[scope]} requests under way and may have {self._most}: "
                "wait for one to end, or raise gateway.limits.max_requests_per_key"
            )
            raise WireError(msg, status=429, code="rate_limit_exceeded", kind="rate_limit_error")
        self._counts[scope] += 1
        try:
            yield
        finally:
            self._counts[scope] -= 1
            if not self._counts[scope]:
                del self._counts[scope]


class LimitHeaders:
    """ASGI middleware; some servers take headers of any size."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        """Let headers of `max_bytes` through."""
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it with 431."""
        size = sum(len(name) + len(value) for name, value in scope.get("headers", ()))
        if scope["type"] != "http" or size <= self._max_bytes:
            await self._app(scope, receive, send)
            return
        msg = (
            f"the headers have {size} bytes, more than {self._max_bytes}: send less, or raise "
            "gateway.limits.max_header_bytes"
        )
        failure = failure_of(WireError(msg, status=431, code="headers_too_large"))
        await JSONResponse(failure.body, status_code=431)(scope, receive, send)


class LimitSends:
    """ASGI middleware: who does not take what is sent is let go, and so is what is held for it."""

    def __init__(self, app: ASGIApp, limit_s: float) -> None:
        """Wait `limit_s` for each part of a response to be taken."""
        self._app = app
        self._limit_s = limit_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on.

        Raises:
            StreamAborted: a part was not taken in time; whoever answers ends with it.
        """

        async def send_in_time(message: Message) -> None:
            try:
                async with asyncio.timeout(self._limit_s):
                    await send(message)
            except TimeoutError:
                what = f"{scope['method']} {scope['path']}"
                msg = f"{what} was broken off: nothing was read for {self._limit_s:.0f} s"
                logger.warning(msg)
                raise StreamAborted(msg) from None

        await self._app(scope, receive, send_in_time if scope["type"] == "http" else send)
