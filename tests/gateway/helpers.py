"""Messages as clients write them, and a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette

from clawjax.errors import LogError
from clawjax.gateway.listening import http_server

MODEL = "tiny"


@asynccontextmanager
async def serving(app: Starlette) -> AsyncIterator[str]:
    """A real server on a free port of the loopback; yields its base URL."""
    server = http_server(app, "127.0.0.1", 0)
    async with asyncio.TaskGroup() as group:
        group.create_task(server._serve(None))
        async with asyncio.timeout(10):
            while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
                await asyncio.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        finally:
            server.should_exit = True


def user(text: str) -> dict:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict:
    return {"role": "assistant", "content": text}


class FailingLog:
    """A real log whose disk is full for some records."""

    def __init__(self, log, refused):
        self._log = log
        self.refused = refused
        self.refusals = 0

    def append(self, *records):
        if any(isinstance(record, self.refused) for record in records):
            self.refusals += 1
            msg = "cannot write the turn log: disk is full"
            raise LogError(msg)
        self._log.append(*records)

    def __getattr__(self, name):
        return getattr(self._log, name)
