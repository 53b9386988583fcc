"""`/v1/responses/{id}`: a response is told again, with what it answered, or forgotten.

Invariant: what a key was not given itself does not exist for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Protocol

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from clawjax.gateway.auth import Authenticator
from clawjax.gateway.completions import Json
from clawjax.gateway.dialects.responses_stored import input_items, stored_body
from clawjax.gateway.previous import PreviousResponses
from clawjax.gateway.wire import reject, storable
from clawjax.keys import Role
from clawjax.log.forgetting import Forgotten
from clawjax.records import Turn

__all__ = ["Forget", "stored_routes"]

_PATH = "/v1/responses/{response_id}"
_PAGE, _LONGEST_PAGE = 20, 100
"""Input items in an answer, as OpenAI has them: where the client names no number, and at most."""
_MOST_DIGITS = 9


class Forget(Protocol):
    """Takes a session or a response of a key out of the log; see `log.forgetting`."""

    def __call__(
        self, scope: str, *, session_id: str | None = None, response_id: str | None = None
    ) -> Forgotten:
        """What is not there any more. Called in a thread."""
        ...


def stored_routes(
    responses: PreviousResponses,
    authenticator: Authenticator,
    forget: Forget | None,
    let_go: Callable[[], Coroutine[None, None, None]],
) -> list[Route]:
    """The routes; without `forget` nothing can be deleted.

    Args:
        responses: finds them.
        authenticator: says whose they have to be.
        forget: takes one out of the log.
        let_go: has the gateway recognise no conversation by what was forgotten.
    """

    async def find(request: Request) -> Turn:
        who = authenticator.admit(request.headers, Role.CHAT)
        response_id = storable(request.path_params["response_id"], "response_id")
        return await responses.stored(response_id, who.scope)

    async def get(request: Request) -> Response:
        if request.query_params.get("stream", "false").lower() != "false":
            reject("stream", "a response is not streamed again: ask without it")
        return JSONResponse(stored_body(await find(request)))

    async def get_input(request: Request) -> Response:
        return JSONResponse(_page(input_items(await find(request)), request))

    async def delete(request: Request) -> Response:
        assert forget is not None, "there is no route otherwise"
        turn = await find(request)
        await asyncio.to_thread(forget, turn.scope, response_id=turn.response_id)
        await let_go()
        return JSONResponse({"id": turn.response_id, "object": "response", "deleted": True})

    routes = [
        Route(_PATH, get, methods=["GET"]),
        Route(f"{_PATH}/input_items", get_input, methods=["GET"]),
    ]
    return routes if forget is None else [*routes, Route(_PATH, delete, methods=["DELETE"])]


def _page(items: Sequence[Json], request: Request) -> Json:
    """Items in the order that is wanted, from behind the one named `after`."""
    asked = request.query_params
    order = asked.get("order", "desc")
    if order not in ("asc", "desc"):
        reject("order", f"{order[:40]!r} is unknown: expected asc or desc")
    ordered = list(items if order == "asc" else reversed(items))
    if (after := asked.get("after")) is not None:
        names = [item["id"] for item in ordered]
        if after not in names:
            reject("after", f"{after[:80]!r} is no item of this response: use the last one's id")
        ordered = ordered[names.index(after) + 1 :]
    limit = _limit(asked.get("limit"))
    shown = ordered[:limit]
    return {
        "object": "list",
        "data": shown,
        "first_id": shown[0]["id"] if shown else None,
        "last_id": shown[-1]["id"] if shown else None,
        "has_more": len(ordered) > limit,
    }


def _limit(text: str | None) -> int:
    if text is None:
        return _PAGE
    is_short = text.isdecimal() and len(text) <= _MOST_DIGITS
    if not is_short or not 1 <= int(text) <= _LONGEST_PAGE:
        reject("limit", f"{text[:40]!r} is out of range: expected 1 to {_LONGEST_PAGE}")
    return int(text)
