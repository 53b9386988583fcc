"""Around every request: persistent counters.

`requests` are those for a reply, `other_requests` the rest (feedback, models, what is not there),
`non_2xx` what was refused of both. Invariant: a request under `/v1/` is counted once, before the
last byte of its response leaves; one that broke off after its status was sent counts as `non_2xx`.
What browsers ask before they send it (`OPTIONS`) is none.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clawjax.errors import LogError
from clawjax.gateway.counting import Counting

__all__ = ["CountRequests"]

logger = logging.getLogger(__name__)

_COUNTED_PREFIX = "/v1/"
_REPLY_PATHS = ("/v1/chat/completions", "/v1/responses", "/v1/messages", "/v1/completions")


def _is_counted(scope: Scope) -> bool:
    is_request = scope["type"] == "http" and scope["method"] != "OPTIONS"
    return is_request and scope["path"].startswith(_COUNTED_PREFIX)


class CountRequests:
    """ASGI middleware; `count` is called in worker threads."""

    def __init__(self, app: ASGIApp, count: Callable[[str, int], None]) -> None:
        self._app = app
        self._counting = Counting(count)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and count it."""
        if not _is_counted(scope):
            await self._app(scope, receive, send)
            return
        is_for_reply = scope["method"] == "POST" and scope["path"] in _REPLY_PATHS
        name = "requests" if is_for_reply else "other_requests"
        status = 0
        is_counted = False

        async def count_and_send(message: Message) -> None:
            nonlocal status, is_counted
            if message["type"] == "http.response.start":
                status = message["status"]
            elif not message.get("more_body", False) and not is_counted:
                is_counted = True
                await self._add(name, is_success=200 <= status < 300)
            await send(message)

        try:
            await self._app(scope, receive, count_and_send)
        except Exception:
            if not is_counted:
                await self._add(name, is_success=False)
            raise
        if not is_counted:  # the client has left
            await self._add(name, is_success=True)

    async def _add(self, name: str, *, is_success: bool) -> None:
        try:
            await self._counting.add([name] if is_success else [name, "non_2xx"])
        except LogError as error:
            logger.error("a request is not counted: %s", error)
