"""What is too much, and what is said of it."""

import asyncio

import pytest

from clawjax.config import LimitsConfig
from clawjax.keys import Role

from .doors import BODIES, Door
from .helpers import assistant, user


@pytest.mark.parametrize(
    ("limits", "body", "said"),
    [
        ({"max_messages": 1}, {"messages": [user("a"), assistant("b"), user("c")]}, "max_messages"),
        ({"max_choices": 1}, {"messages": [user("a")], "n": 2}, "max_choices"),
        ({"max_prompt_tokens": 2}, {"messages": [user("a b c")]}, "max_prompt_tokens"),
    ],
)
async def test_what_is_too_much_names_its_limit(make_gateway, limits, body, said):
    gateway = make_gateway(config={"limits": LimitsConfig(**limits)})
    answer = await gateway.client.post("/v1/chat/completions", json=body)
    assert answer.status_code == 400
    assert f"gateway.limits.{said}" in answer.json()["error"]["message"]
    assert gateway.turns() == []


@pytest.mark.parametrize(
    "body",
    [
        {"messages": [user("1" * 60_000)]},
        {"messages": [user("1" * 600_000)]},
        {"messages": [user("hi"), assistant("1" * 60_000)]},
        {"prompt": "1" * 60_000},
    ],
    ids=["long", "endless", "begun", "text"],
)
async def test_what_cannot_fit_is_refused_without_finding_its_tokens(make_gateway, body):
    path = "/v1/completions" if "prompt" in body else "/v1/chat/completions"
    for config, said in (
        ({}, "maximum context length is 2048 tokens, but the messages take at least "),
        ({"limits": LimitsConfig(max_prompt_tokens=30)}, "gateway.limits.max_prompt_tokens"),
    ):
        gateway = make_gateway(config=config, context_length=2**20 if config else 2048)
        answer = await gateway.client.post(path, json=body)
        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (400, "context_length_exceeded")
        assert said in error["message"]
        assert "at least " in error["message"]
    assert gateway.turns() == []


async def test_a_prompt_of_several_contexts_is_counted_and_one_of_many_is_not(make_gateway):
    gateway = make_gateway(context_length=100)
    for text, counted in (("7" * 3000, True), ("7" * 30_000, False)):
        body = {"messages": [user(text)]}
        answer = await gateway.client.post("/v1/messages/count_tokens", json=body)
        if counted:
            assert answer.json()["input_tokens"] > 3000
        else:
            assert answer.status_code == 400
            message = answer.json()["error"]["message"]
            assert message.startswith("prompt is too long: the messages take at least 20")
            assert "more than 400, 4 times" in message


async def test_headers_have_a_limit(make_gateway):
    gateway = make_gateway(config={"limits": LimitsConfig(max_header_bytes=1024)})
    answer = await gateway.chat(user("hi"), headers={"x-filler": "a" * 1024})
    assert answer.status_code == 431
    assert "gateway.limits.max_header_bytes" in answer.json()["error"]["message"]
    assert (await gateway.chat(user("hi"))).status_code == 200


async def test_requests_of_one_key_are_limited_and_those_of_another_are_not(make_gateway, tmp_path):
    config = {"limits": LimitsConfig(max_requests_per_key=1)}
    door = Door(make_gateway, tmp_path, config=config, token_delay_s=0.05)
    door.add("other", *Role)
    path, body = "/v1/chat/completions", {"messages": [user("hi")]}
    first = asyncio.create_task(door.post(path, body, door.owner))
    async with asyncio.timeout(60):
        while not door.gateway.engine.requests:  # noqa: ASYNC110 - the engine has no event
            await asyncio.sleep(0.01)
    refused = await door.post(path, body, door.owner)
    assert refused.status_code == 429
    assert refused.headers["retry-after"] == "1"
    assert "gateway.limits.max_requests_per_key" in refused.json()["error"]["message"]
    assert (await door.post(path, body, door.other)).status_code == 200
    assert (await first).status_code == 200
    assert (await door.post(path, body, door.owner)).status_code == 200


async def test_counting_tokens_is_a_request_like_others(make_gateway, tmp_path):
    limits = LimitsConfig(max_requests_per_key=1, max_messages=2)
    door = Door(make_gateway, tmp_path, config={"limits": limits}, token_delay_s=0.05)
    path, body = "/v1/messages/count_tokens", BODIES["/v1/messages"]
    many = body | {"messages": [user("a"), assistant("b"), user("c")]}
    refused = await door.post(path, many, door.owner)
    assert refused.status_code == 400
    assert "gateway.limits.max_messages" in refused.text
    said = {"messages": [user("hi")]}
    first = asyncio.create_task(door.post("/v1/chat/completions", said, door.owner))
    async with asyncio.timeout(60):
        while not door.gateway.engine.requests:  # noqa: ASYNC110 - the engine has no event
            await asyncio.sleep(0.01)
    refused = await door.post(path, body, door.owner)
    assert refused.status_code == 429
    assert "gateway.limits.max_requests_per_key" in refused.text
    assert (await first).status_code == 200
    assert (await door.post(path, body, door.owner)).status_code == 200
