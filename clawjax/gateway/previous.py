"""Responses that were given before, read from the turn log, to their own keys only.

Those of the process before are found as well, and those that were forgotten are not. A conversation
goes on from what was said, a response is told as it was logged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from clawjax.errors import WireError
from clawjax.gateway.dialects.responses import is_stored, resume
from clawjax.gateway.gateway_log import GatewayLog
from clawjax.gateway.openai import ChatRequest
from clawjax.records import FinishReason, Turn

__all__ = ["PreviousResponses"]


class PreviousResponses:
    """Finds responses in their own scope only."""

    def __init__(
        self, log: GatewayLog, as_said: Callable[[Turn], Turn] = lambda turn: turn
    ) -> None:
        """Look in `log`; `as_said` gives back to a logged turn what was blanked out of it."""
        self._log = log
        self._as_said = as_said

    async def resume(self, request: ChatRequest, scope: str) -> ChatRequest:
        """The request with the whole conversation of its `previous_response_id` in its messages.

        Raises:
            WireError: 404, there is no such response that has ended.
            LogError: the log cannot be read.
        """
        assert request.previous_response_id is not None
        turn = await self._find(request.previous_response_id, scope)
        if turn is None or turn.finish_reason is FinishReason.CANCELLED:
            msg = (
                f"previous response {request.previous_response_id[:80]!r} is not known: use the "
                "id of one that has ended, or send the conversation as input"
            )
            raise WireError(
                msg,
                status=404,
                code="previous_response_not_found",
                param="previous_response_id",
            )
        return resume(request, self._as_said(turn))

    async def stored(self, response_id: str, scope: str) -> Turn:
        """The turn of a response that is to be told again; one that was broken off has one, too.

        Raises:
            WireError: 404, there is no such response of this key, or its client wanted it not
                stored (`"store": false`).
            LogError: the log cannot be read.
        """
        turn = await self._find(response_id, scope) if is_stored(response_id) else None
        if turn is None:
            msg = (
                f"response {response_id[:80]!r} is not known: use the id of a response of this "
                "key that was not made with store=false and has not been deleted"
            )
            raise WireError(msg, status=404, code="response_not_found", param="response_id")
        return turn

    async def _find(self, response_id: str, scope: str) -> Turn | None:
        turn = await asyncio.to_thread(self._read, response_id)
        return turn if turn is not None and turn.scope == scope else None

    def _read(self, response_id: str) -> Turn | None:
        """Runs in a thread."""
        turn_id = self._log.find_response(response_id)
        judged = None if turn_id is None else self._log.get(turn_id)
        return None if judged is None else judged.turn
