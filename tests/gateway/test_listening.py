"""The server ends when all that it broke off has written down how far it came."""

import asyncio
import signal

import httpx

from clawjax.gateway.listening import http_server, listen


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
