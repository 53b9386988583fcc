"""A client that costs little: requests are written beforehand, answers only read to their end.

Speaks as much of HTTP/1.1 as our own server does, over connections that are kept.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

__all__ = ["Connection", "connected", "post"]

_TIMEOUT_S = 120.0


def post(url: str, path: str, body: Mapping[str, object]) -> bytes:
    """A request, ready to be sent."""
    content = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


class Connection:
    """One connection, one request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take over a connection that is open."""
        self._reader = reader
        self._writer = writer

    async def ask(self, request: bytes) -> bytes:
        """The body of an answer of known length.

        Raises:
            RuntimeError: another status than 200.
            TimeoutError: nothing comes.
        """
        async with asyncio.timeout(_TIMEOUT_S):
            headers = await self._send(request)
            return await self._reader.readexactly(int(headers["content-length"]))

    async def stream(self, request: bytes) -> list[float]:
        """When each chunk of a streamed answer arrived, by `time.perf_counter`.

        Raises:
            RuntimeError: another status than 200.
            TimeoutError: it does not end.
        """
        arrived: list[float] = []
        async with asyncio.timeout(_TIMEOUT_S):
            await self._send(request)
            while size := int(await self._reader.readuntil(b"\r\n"), 16):
                await self._reader.readexactly(size + 2)
                arrived.append(time.perf_counter())
            await self._reader.readexactly(2)
        return arrived

    async def _send(self, request: bytes) -> dict[str, str]:
        self._writer.write(request)
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        status, *lines = head.rstrip().split("\r\n")
        if " 200 " not in f"{status} ":
            msg = f"the gateway answered {status!r}"
            raise RuntimeError(msg)
        pairs = (line.partition(":") for line in lines)
        return {name.lower(): value.strip() for name, _, value in pairs}


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Connection]:
    """An open connection."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        yield Connection(reader, writer)
    finally:
        writer.close()
