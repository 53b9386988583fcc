"""Requests of real clients, replayed against the whole endpoint."""

import json

import httpx
import pytest

from .conversations import recorded
from .helpers import MODEL

ENDS = {
    "/v1/chat/completions": "data: [DONE]",
    "/v1/responses": "event: response.completed",
    "/v1/messages": "event: message_stop",
}


async def replay(gateway, entry: dict) -> httpx.Response:
    body = {**entry["body"], "model": MODEL}
    return await gateway.client.post(entry["path"], json=body, headers=entry["headers"])


@pytest.mark.parametrize("entry", recorded(), ids=lambda entry: entry["headers"]["user-agent"])
async def test_every_client_is_answered_in_its_own_way(make_gateway, entry):
    gateway = make_gateway(["hello there"], api_key="sk-local", context_length=32_768)
    response = await replay(gateway, entry)
    assert response.status_code == 200, response.text
    (turn,) = gateway.turns()
    assert turn.reply.content == "hello there"
    assert turn.prompt_ids == gateway.engine.requests[0].prompt_ids
    if entry["body"].get("stream"):
        path = entry["path"].partition("?")[0]
        assert response.headers["content-type"].startswith("text/event-stream")
        assert ENDS[path] in response.text
        events = [line for line in response.text.splitlines() if line.startswith("data: {")]
        assert len(events) > 4
        assert all(json.loads(line.removeprefix("data: ")) for line in events)
    else:
        assert "hello there" in response.text
    counters = gateway.log.counters()
    assert (counters["requests"], counters.get("non_2xx", 0)) == (1, 0)


async def test_claude_code_looks_whether_anybody_is_there(make_gateway):
    gateway = make_gateway(api_key="k")
    assert (await gateway.client.head("/")).status_code == 200
    body = (await gateway.client.get("/")).json()
    assert "/v1/messages" in body["paths"]


async def test_hermes_finds_its_models(make_gateway):
    gateway = make_gateway()
    listed = await gateway.client.get("/api/v1/models")
    assert listed.json() == (await gateway.client.get("/v1/models")).json()


async def test_what_is_left_out_is_told(make_gateway):
    gateway = make_gateway(context_length=32_768)
    response = await replay(gateway, recorded("codex")[0])
    assert response.headers["x-clawjax-notes"] == (
        'tools of type "namespace", "web_search" are left out'
    )


async def test_two_kinds_of_keys_are_one_caller(make_gateway):
    gateway = make_gateway(api_key="k", context_length=2048)
    body = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}]}
    for headers in ({"x-api-key": "k"}, {"authorization": "Bearer k"}):
        response = await gateway.client.post("/v1/messages", json=body, headers=headers)
        assert response.status_code == 200
    first, second = gateway.turns()
    assert first.scope == second.scope
    for headers in ({}, {"x-api-key": "x"}):
        response = await gateway.client.post("/v1/messages", json=body, headers=headers)
        assert (response.status_code, response.json()["type"]) == (401, "error")
