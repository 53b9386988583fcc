"""One server over HTTP: every failure is one of the four kinds."""

from __future__ import annotations

import asyncio
import json

import httpx
import pytest
from scripted_server import Fault, ScriptedServer

from clawjax.config import SglangConfig
from clawjax.engine.sglang.failures import LostError, RefusedError, UnreachableError
from clawjax.engine.sglang.http import Connections, ServerClient

BODY = {
    "input_ids": [1, 2],
    "stream": True,
    "sampling_params": {"temperature": 0, "max_new_tokens": 3},
}


@pytest.fixture
async def server():
    async with ScriptedServer().serving() as server:
        yield server


@pytest.fixture
async def client(server):
    async with Connections.open(SglangConfig(connect_timeout_s=0.5), "secret") as pool:
        yield ServerClient(pool, server.url + "/")


async def events(client, silence_s=2.0):
    async with client.stream("/generate", BODY, silence_s=silence_s) as stream:
        return [event async for event in stream]


async def test_an_answer_that_is_no_json_is_text(client):
    assert await client.call("GET", "/health", timeout_s=1.0) == {"text": ""}


async def test_refusals_keep_status_and_words(client):
    with pytest.raises(RefusedError, match="answered 404: Not Found") as caught:
        await client.call("POST", "/nothing_there", {}, timeout_s=1.0)
    assert (caught.value.status, caught.value.words) == (404, "Not Found")


async def test_nobody_there_is_unreachable():
    async with Connections.open(SglangConfig(connect_timeout_s=0.5), None) as pool:
        client = ServerClient(pool, "http://127.0.0.1:9")
        with pytest.raises(UnreachableError, match=r"127\.0\.0\.1:9 cannot be reached"):
            await client.call("GET", "/health", timeout_s=1.0)
        with pytest.raises(UnreachableError):
            await events(client)


async def test_an_answer_that_is_late_is_lost(server, client):
    server.health_delay_s = 1.0
    with pytest.raises(LostError, match="silent for too long"):
        await client.call("GET", "/health", timeout_s=0.1)


async def test_a_stream_that_breaks_or_falls_silent_is_lost(server, client):
    server.faults = [Fault("reset", 1)]
    with pytest.raises(LostError):
        await events(client)
    server.faults = [Fault("hang", 1)]
    with pytest.raises(LostError, match="silent for too long"):
        await events(client, silence_s=0.2)


async def test_a_stream_ends_with_done(client):
    assert len(await events(client)) == 3


async def test_text_may_hold_what_ends_a_line_elsewhere():
    said = [{"text": "a\u2028b\u2029c\x85d"}, {"text": "e\x0b\x0cf"}]
    body = "".join(f"data: {json.dumps(event, ensure_ascii=False)}\r\n\r\n" for event in said)
    whole = f"{body}data: [DONE]\n\n".encode()

    async def pieces():
        for at in range(0, len(whole), 7):  # cut anywhere, in the middle of a character, too
            yield whole[at : at + 7]

    transport = httpx.MockTransport(lambda _: httpx.Response(200, content=pieces()))
    async with httpx.AsyncClient(transport=transport) as connections:
        assert await events(ServerClient(Connections(connections, connections), "http://a")) == said


async def test_the_key_is_sent(server, client):
    await client.call("GET", "/get_model_info", timeout_s=1.0)
    assert server.keys == ["Bearer secret"]


async def test_aborting_is_no_error_where_nobody_listens(server, client):
    await client.abort("r")
    assert server.aborted == ["r"]
    async with Connections.open(SglangConfig(connect_timeout_s=0.2), None) as pool:
        async with asyncio.timeout(3):
            await ServerClient(pool, "http://127.0.0.1:9").abort("r")
