"""Messages as clients write them, conversations of them, and a real server."""

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


async def talk(gateway, *texts, **options):
    """Hold a conversation; returns the turns it left."""
    messages = []
    for text in texts:
        messages.append(user(text))
        body = await gateway.say(*messages, **options)
        messages.append(body["choices"][0]["message"])
    return gateway.turns()


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
