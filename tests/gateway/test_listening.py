"""Whom the server lets go, and that it ends when all that it broke off has written that down."""

import asyncio
import signal

import httpx
import pytest

from clawjax.gateway import listening
from clawjax.gateway.listening import http_server, listen

from .helpers import serving


def test_it_has_ended_when_what_was_broken_off_has(monkeypatch):
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    written = []

    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            for stage in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{stage}.complete"})
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await asyncio.sleep(0.2)
            written.append("a")
            raise

    async def stop_amid_a_reply():
        server = http_server(app, "127.0.0.1", 0, grace_s=1)
        listening = asyncio.create_task(listen(server))
        async with asyncio.timeout(30):
            while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
                await asyncio.sleep(0.01)
            url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
            async with httpx.AsyncClient() as client, client.stream("GET", url):
                server.should_exit = True
                await listening

    asyncio.run(stop_amid_a_reply())
    assert written == ["a"]


async def slow(scope, receive, send):
    if scope["type"] == "http":
        await asyncio.sleep(0.6)
        headers = [(b"content-length", b"1")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"a"})


HEAD = b"GET / HTTP/1.1\r\nhost: a\r\n"


@pytest.mark.parametrize("before", [b"", b"GET / HT", HEAD, HEAD + b"\r\n"])
async def test_who_does_not_finish_a_requests_headers_is_let_go(monkeypatch, before):
    """Also where a request came before, and where bytes are still coming."""
    monkeypatch.setattr(listening, "HEAD_S", 0.3)
    async with serving(slow) as url, asyncio.timeout(30):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(before)
        if before.endswith(b"\r\n\r\n"):
            reply = await reader.readuntil(b"\r\n\r\na")
            assert b" 200 " in reply, "a reply may take longer"
            await asyncio.sleep(0.6)  # between requests it may rest
            writer.write(HEAD)
        await asyncio.sleep(0.1)
        writer.write(b"x" if before else b"")
        assert await reader.read() == b""
        writer.close()
