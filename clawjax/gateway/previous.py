"""`previous_response_id`: what was said up to an earlier response, read from the turn log."""

from __future__ import annotations

import asyncio

from clawjax.errors import WireError
from clawjax.gateway.collector import GatewayLog
from clawjax.gateway.dialects.responses import resume
from clawjax.gateway.openai import ChatRequest
from clawjax.records import FinishReason, Turn

__all__ = ["PreviousResponses"]


class PreviousResponses:
    """Finds responses in their own scope only, also those of the process before."""

    def __init__(self, log: GatewayLog) -> None:
        self._log = log

    async def resume(self, request: ChatRequest, scope: str) -> ChatRequest:
        """The request with the whole conversation in its messages.

        Raises:
            WireError: 404, there is no such response that has ended.
            LogError: the log cannot be read.
        """
        assert request.previous_response_id is not None
        turn = await asyncio.to_thread(self._find, request.previous_response_id)
        is_whole = turn is not None and turn.finish_reason is not FinishReason.CANCELLED
        if turn is None or turn.scope != scope or not is_whole:
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
        return resume(request, turn)

    def _find(self, response_id: str) -> Turn | None:
        """Runs in a thread."""
        turn_id = self._log.find_response(response_id)
        judged = None if turn_id is None else self._log.get(turn_id)
        return None if judged is None else judged.turn
