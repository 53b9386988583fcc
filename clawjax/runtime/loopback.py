"""The endpoint on a free port of the loopback, in this process: for measuring, not for people."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette

from clawjax.gateway.listening import http_server
from clawjax.tasks import task_group

__all__ = ["serving"]

_START_TIMEOUT_S = 60.0
_POLL_S = 0.02


@asynccontextmanager
async def serving(app: Starlette) -> AsyncIterator[str]:
    """Serve as long as the context lasts; yields the base URL, e.g. `http://127.0.0.1:41234/v1`.

    Raises:
        TimeoutError: it does not start within a minute.
    """
    server = http_server(app, "127.0.0.1", 0)
    async with task_group() as group:
        group.create_task(server.serve())
        async with asyncio.timeout(_START_TIMEOUT_S):
            while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
                await asyncio.sleep(_POLL_S)
        try:
            yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/v1"
        finally:
            server.should_exit = True
