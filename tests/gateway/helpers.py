"""Messages as clients write them, and a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette

from clawjax.errors import LogError
from clawjax.runtime import loopback

MODEL = "tiny"


@asynccontextmanager
async def serving(app: Starlette) -> AsyncIterator[str]:
    """A real server on a free port of the loopback; yields its base URL."""
    async with loopback.serving(app) as url:
        yield url.removesuffix("/v1")


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
