"""A client's connection: its body is read within bounds, and its leaving ends the work for it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine

from starlette.requests import Request
from starlette.types import Receive

from clawjax.errors import WireError
from clawjax.gateway.wire import JsonObject, parse_object
from clawjax.tasks import task_group

__all__ = ["read_object", "run_while_connected"]

_BODY_TIMEOUT_S = 60.0


async def read_object(
    request: Request, max_bytes: int, *, may_be_empty: bool = False
) -> JsonObject:
    """Read a JSON object without ever holding more than `max_bytes`.

    Where it `may_be_empty`, no body at all is an object without entries.

    Raises:
        WireError: 413 over the limit, 408 where it does not arrive, 400 where it is no JSON object.
    """
    announced = request.headers.get("content-length", "0")
    if announced.isdecimal() and (len(announced) > 18 or int(announced) > max_bytes):
        raise _too_large(max_bytes)
    try:
        async with asyncio.timeout(_BODY_TIMEOUT_S):
            body = await _read(request, max_bytes)
    except TimeoutError as error:
        msg = f"the body has not arrived within {_BODY_TIMEOUT_S:.0f} s: send it again"
        raise WireError(msg, status=408, code="body_timeout") from error
    return {} if may_be_empty and not body else parse_object(body)


async def _read(request: Request, max_bytes: int) -> bytes:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > max_bytes:
            raise _too_large(max_bytes)
    return bytes(body)


async def run_while_connected(
    work: Coroutine[None, None, None],
    receive: Receive,
    *,
    beside: Coroutine[None, None, None] | None = None,
) -> None:
    """Run `work`, cancelling it when the client leaves. The body has to be read before.

    What runs `beside` it ends with it.
    """
    async with task_group() as group:
        working = group.create_task(work)
        watching = group.create_task(_until_disconnect(receive))
        watching.add_done_callback(lambda _: working.cancel())
        working.add_done_callback(lambda _: watching.cancel())
        if beside is not None:
            helping = group.create_task(beside)
            working.add_done_callback(lambda _: helping.cancel())


async def _until_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _too_large(max_bytes: int) -> WireError:
    msg = f"the body is larger than {max_bytes} bytes: send less, or raise gateway.max_body_bytes"
    return WireError(msg, status=413, code="body_too_large")
