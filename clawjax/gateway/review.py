"""`/v1/review`: what the role admin may do for the review queue, one key being one reviewer.

    GET  /v1/review                     how many turns wait, are held, leased and settled
    POST /v1/review/claim               a turn to label, or null
    POST /v1/review/{turn_id}/label     {"score": -1 to 1 or null, "steps", "hints", "note"}
    POST /v1/review/{turn_id}/skip      give it back
    POST /v1/review/undo                take back one's newest label or skip

Who reviews is who the key says: two keys are two people, one key is one, whatever it claims.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from clawjax.errors import ReviewError, WireError
from clawjax.gateway.auth import Authenticator
from clawjax.gateway.connection import read_object
from clawjax.gateway.wire import JsonObject, read_number, read_text, reject, storable
from clawjax.keys import Role
from clawjax.log.lateness import use_of
from clawjax.review.exchange import described, steps_from
from clawjax.review.label import Label
from clawjax.review.queue import Claimed, ReviewQueue, Standing
from clawjax.texts import whole

__all__ = ["ReviewEndpoint", "parse_label", "review_routes"]

T = TypeVar("T")

_MOST_HINTS = 8


def review_routes(endpoint: ReviewEndpoint) -> list[Route]:
    """The paths of this module's docstring."""
    return [
        Route("/v1/review", endpoint.counts, methods=["GET"]),
        Route("/v1/review/claim", endpoint.claim, methods=["POST"]),
        Route("/v1/review/undo", endpoint.undo, methods=["POST"]),
        Route("/v1/review/{turn_id}/label", endpoint.label, methods=["POST"]),
        Route("/v1/review/{turn_id}/skip", endpoint.skip, methods=["POST"]),
    ]


class ReviewEndpoint:
    """The queue over HTTP."""

    def __init__(
        self,
        queue: ReviewQueue,
        authenticator: Authenticator,
        clock: Callable[[], float],
        max_bytes: int,
        *,
        recalls_reactions: bool = False,
    ) -> None:
        self._queue = queue
        self._recalls_reactions = recalls_reactions
        self._authenticator = authenticator
        self._clock = clock
        self._max_bytes = max_bytes

    async def counts(self, request: Request) -> Response:
        """The queue's balance."""
        self._reviewer(request)
        return JSONResponse((await asyncio.to_thread(self._queue.counts))._asdict())

    async def claim(self, request: Request) -> Response:
        """A turn with its context, and until when it is the caller's."""
        reviewer = self._reviewer(request)
        claimed = await asyncio.to_thread(self._queue.claim, reviewer)
        return JSONResponse({"item": None if claimed is None else _item(claimed)})

    async def label(self, request: Request) -> Response:
        """Record what the caller says of a turn they have claimed."""
        reviewer = self._reviewer(request)
        body = await read_object(request, self._max_bytes)
        turn_id = _turn_id(request)
        label = parse_label(body, turn_id, reviewer, now=self._clock())
        return self._told(await _tried(self._queue.label, label))

    async def skip(self, request: Request) -> Response:
        """Give a claimed turn back."""
        reviewer = self._reviewer(request)
        await _tried(self._queue.skip, _turn_id(request), reviewer)
        return JSONResponse({"skipped": True})

    async def undo(self, request: Request) -> Response:
        """Take back the caller's newest label or skip; the turn is theirs again."""
        standing = await _tried(self._queue.undo, self._reviewer(request))
        if standing is None:
            msg = "this key has labelled nothing that could be taken back"
            raise WireError(msg, status=404, code="not_found")
        return self._told(standing)

    def _told(self, standing: Standing) -> Response:
        use = use_of(standing.late, recalls_reactions=self._recalls_reactions)
        told = {
            "turn_id": standing.turn_id,
            "settled": standing.is_settled,
            "score": standing.score,
            "used": use.is_used,
        }
        return JSONResponse(told if use.reason is None else told | {"reason": use.reason})

    def _reviewer(self, request: Request) -> str:
        return self._authenticator.admit(request.headers, Role.ADMIN).scope


def parse_label(body: JsonObject, turn_id: str, reviewer: str, *, now: float) -> Label:
    """Validate a request body.

    Raises:
        WireError: 400, naming the field, what was found and what is expected.
    """
    if "score" not in body:
        reject("score", "missing: expected -1 (bad) to 1 (good), or null for cannot tell")
    hints = body.get("hints") or []
    if not isinstance(hints, list) or not all(isinstance(hint, str) for hint in hints):
        reject("hints", "is no list of texts: say what should have been told beforehand")
    if len(hints) > _MOST_HINTS:
        reject("hints", f"has {len(hints)} entries: {_MOST_HINTS} at most")
    steps = body.get("steps") or {}
    if not isinstance(steps, dict):
        reject("steps", 'is no object: expected e.g. {"call_arguments": -1}')
    try:
        return Label(
            turn_id=turn_id,
            reviewer=reviewer,
            score=read_number(body, "score", -1.0, 1.0),
            labelled_at=now,
            steps=steps_from(steps),
            hints=tuple(whole(hint.strip()) for hint in hints if hint.strip()),
            note=storable(read_text(body, "note") or "", "note"),
        )
    except (ValueError, TypeError) as error:
        reject("steps", str(error))


def _turn_id(request: Request) -> str:
    return storable(request.path_params["turn_id"], "turn_id")


async def _tried(call: Callable[..., T], *arguments: Any) -> T:
    """In a thread; what the queue refuses is a conflict.

    Raises:
        WireError: 409.
    """
    try:
        return await asyncio.to_thread(call, *arguments)
    except ReviewError as error:
        raise WireError(str(error), status=409, code="not_claimed", param="turn_id") from error


def _item(claimed: Claimed) -> dict[str, Any]:
    told = described(claimed.judged, claimed.request.reasons)
    return told | {"people": claimed.request.people, "expires_at": claimed.expires_at}
