"""A real server and real clients: streams, failures in the middle, clients that leave."""

import asyncio
import json
import time
from http.client import HTTPConnection

import httpx
import openai
import pytest

from clawjax.records import FinishReason, NextState, NextStateKind

from .helpers import MODEL, FailingLog, assistant, serving, user


def client_for(url: str, key: str = "k") -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)


async def test_a_connection_rests_longer_than_clients_keep_theirs(gateway):
    def ask_twice(port: int) -> list[int]:
        connection = HTTPConnection("127.0.0.1", port, timeout=10)
        connection.connect()
        connection.auto_open = 0  # a second one would hide that the first was closed
        statuses = []
        for rest_s in (0, 5.5):  # httpx, and with it the openai client, keeps one for 5 s
            time.sleep(rest_s)
            connection.request("GET", "/healthz")
            answer = connection.getresponse()
            answer.read()
            statuses.append(answer.status)
        connection.close()
        return statuses

    async with serving(gateway.app) as url:
        assert await asyncio.to_thread(ask_twice, int(url.rsplit(":", 1)[1])) == [200, 200]


async def events_of(url: str, **body) -> list[dict | str]:
    async with (
        httpx.AsyncClient(base_url=url) as client,
        client.stream("POST", "/v1/chat/completions", json={"stream": True, **body}) as response,
    ):
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        lines = [line async for line in response.aiter_lines() if line]
    assert all(line.startswith("data: ") for line in lines)
    texts = [line.removeprefix("data: ") for line in lines]
    return [text if text == "[DONE]" else json.loads(text) for text in texts]


async def until(condition) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what is awaited happens in threads
            await asyncio.sleep(0.02)


async def _drain(chunks) -> None:
    async for _ in chunks:
        pass


async def test_a_stream_has_openais_shape(gateway):
    async with serving(gateway.app) as url:
        events = await events_of(url, messages=[user("hi")], stream_options={"include_usage": True})
    assert events[-1] == "[DONE]"
    *chunks, usage = events[:-1]
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert len({(chunk["id"], chunk["session_id"], chunk["model"]) for chunk in chunks}) == 1
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas[0] == {"role": "assistant", "content": ""}
    assert "".join(delta.get("content", "") for delta in deltas) == "hello there"
    assert len(deltas) > 4  # token by token
    reasons = [chunk["choices"][0]["finish_reason"] for chunk in chunks]
    assert reasons == [None] * (len(reasons) - 1) + ["stop"]
    assert usage["choices"] == []
    assert usage["usage"]["completion_tokens"] == len(gateway.turns()[0].response_ids)


async def test_the_openai_client_talks_streams_and_calls_tools(make_gateway):
    call = '<tool_call>{"name": "ls", "arguments": {"path": "/"}}</tool_call>'
    gateway = make_gateway(["one", "two", f"I look.\n{call}\n{call}"])
    async with serving(gateway.app) as url:
        client = client_for(url)
        plain = await client.chat.completions.create(model=MODEL, messages=[user("hi")], n=2)
        assert [choice.message.content for choice in plain.choices] == ["one", "two"]
        tools = [{"type": "function", "function": {"name": "ls", "parameters": {}}}]
        async with client.chat.completions.stream(
            model="policy", messages=[user("look")], tools=tools, logprobs=True, max_tokens=300
        ) as stream:
            kinds = {event.type async for event in stream}
            final = (await stream.get_final_completion()).choices[0]
        assert final.finish_reason == "tool_calls"
        assert final.message.content == "I look."
        assert [entry.function.name for entry in final.message.tool_calls] == ["ls", "ls"]
        assert {entry.function.arguments for entry in final.message.tool_calls} == {'{"path": "/"}'}
        assert len(final.logprobs.content) == len(gateway.turns()[-1].response_ids)
        assert "content.delta" in kinds
        assert [model.id async for model in client.models.list()] == [MODEL]


async def test_the_openai_client_knows_the_errors(make_gateway):
    gateway = make_gateway(api_key="right", context_length=30)
    async with serving(gateway.app) as url:
        create = client_for(url, "right").chat.completions.create
        with pytest.raises(openai.AuthenticationError, match="invalid api key"):
            await client_for(url, "wrong").models.list()
        with pytest.raises(openai.NotFoundError) as caught:
            await create(model="gpt-9", messages=[user("hi")])
        assert caught.value.code == "model_not_found"
        with pytest.raises(openai.BadRequestError) as caught:
            await create(model=MODEL, messages=[user("hi " * 50)])
        assert caught.value.code == "context_length_exceeded"
        with pytest.raises(openai.BadRequestError) as caught:
            await create(model=MODEL, messages=[user("hi")], temperature=7)
        assert caught.value.param == "temperature"


async def test_choices_stream_side_by_side(make_gateway):
    gateway = make_gateway(["one one", "two two"], token_delay_s=0.01)
    async with serving(gateway.app) as url:
        events = await events_of(url, messages=[user("hi")], n=2)
    assert events.count("[DONE]") == 1
    choices = [chunk["choices"][0] for chunk in events[:-1]]
    texts = ["", ""]
    for choice in choices:
        texts[choice["index"]] += choice["delta"].get("content", "")
    assert sorted(texts) == ["one one", "two two"]
    order = [choice["index"] for choice in choices]
    assert order != sorted(order)


async def test_a_turn_is_in_the_log_before_the_reply_has_ended(gateway):
    body = {"messages": [user("hi")], "stream": True, "session_id": "s", "session_done": True}
    async with (
        serving(gateway.app) as url,
        httpx.AsyncClient(base_url=url) as client,
        client.stream("POST", "/v1/chat/completions", json=body) as response,
    ):
        seen = {}
        async for line in response.aiter_lines():
            if '"finish_reason":"stop"' in line:
                seen["finish"] = gateway.log.counts().logged
            if "[DONE]" in line:
                (turn,) = gateway.turns()
                seen["done"] = [event.kind for event in gateway.events(turn.turn_id)]
                seen["counted"] = gateway.log.counters()
        assert seen == {
            "finish": 1,
            "done": [NextStateKind.SESSION_CLOSED],
            "counted": {"requests": 1},
        }


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_cancels_its_reply(make_gateway, stream):
    gateway = make_gateway(["word " * 100], token_delay_s=0.02)
    async with serving(gateway.app) as url:
        async with httpx.AsyncClient(base_url=url) as client:
            body = {"messages": [user("hi")], "stream": stream, "n": 2, "max_tokens": 500}
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.5):
                    await client.post("/v1/chat/completions", json=body)
        await until(lambda: gateway.log.counts().logged == 2)
    assert len(gateway.engine.cancelled) == 2
    for turn in gateway.turns():
        assert turn.finish_reason is FinishReason.CANCELLED
        assert 0 < len(turn.response_ids) == len(turn.sampler_logprobs)
    assert gateway.log.counts().dropped == {"cancelled": 2}
    assert gateway.log.counters() == {"requests": 1}


async def test_a_failure_in_the_middle_breaks_the_stream_off(make_gateway):
    gateway = make_gateway(fails_after=3)
    async with serving(gateway.app) as url:
        chunks = await client_for(url).chat.completions.create(
            model=MODEL, messages=[user("hi")], stream=True
        )
        assert (await anext(chunks)).choices[0].delta.role == "assistant"
        with pytest.raises(openai.APIError, match="told to fail"):
            await _drain(chunks)
        async with httpx.AsyncClient(base_url=url) as client:
            with pytest.raises(httpx.RemoteProtocolError):
                await client.post(
                    "/v1/chat/completions", json={"messages": [user("hi")], "stream": True}
                )
        with pytest.raises(openai.InternalServerError):
            await client_for(url).chat.completions.create(model=MODEL, messages=[user("hi")])
    assert gateway.log.counts().dropped == {"cancelled": 3}
    assert gateway.log.counters() == {"requests": 3, "non_2xx": 3}


async def test_a_server_recognises_conversations_of_the_one_before(make_gateway):
    async with serving(make_gateway().app) as url:
        first = await client_for(url).chat.completions.create(model=MODEL, messages=[user("a")])
    gateway = make_gateway(["later"])
    history = [user("a"), assistant(first.choices[0].message.content), user("b")]
    async with serving(gateway.app) as url:
        later = await client_for(url).chat.completions.create(model=MODEL, messages=history)
    assert later.session_id == first.session_id
    assert gateway.turns()[1].parent_turn_id == gateway.turns()[0].turn_id


async def test_idle_sessions_are_closed_in_the_background(make_gateway):
    gateway = make_gateway(config={"session_idle_s": 1})
    async with serving(gateway.app) as url:
        await client_for(url).chat.completions.create(model=MODEL, messages=[user("a")])
        await until(lambda: gateway.log.counts().linked == 1)
    (turn,) = gateway.turns()
    assert [event.kind for event in gateway.events(turn.turn_id)] == [NextStateKind.SESSION_CLOSED]


async def test_the_idle_closer_survives_a_log_that_cannot_be_written(make_gateway, log):
    failing = FailingLog(log, NextState)
    gateway = make_gateway(config={"session_idle_s": 1}, with_log=failing)
    async with serving(gateway.app) as url:
        await client_for(url).chat.completions.create(model=MODEL, messages=[user("a")])
        await until(lambda: failing.refusals >= 2)
        failing.refused = ()
        await until(lambda: log.counts().linked == 1)


async def test_the_idle_closer_survives_what_nobody_expected(make_gateway, log, monkeypatch):
    gateway = make_gateway(config={"session_idle_s": 1})
    close_idle, looks = gateway.collector.close_idle, []

    async def fails_at_first() -> None:
        looks.append(1)
        if len(looks) == 1:
            msg = "odd"
            raise ValueError(msg)
        await close_idle()

    monkeypatch.setattr(gateway.collector, "close_idle", fails_at_first)
    async with serving(gateway.app) as url:
        await client_for(url).chat.completions.create(model=MODEL, messages=[user("a")])
        await until(lambda: log.counts().linked == 1)
    assert len(looks) > 1


async def test_requests_at_the_same_time_keep_apart(make_gateway):
    gateway = make_gateway([f"reply {i}" for i in range(12)], token_delay_s=0.001)
    async with serving(gateway.app) as url:
        client = client_for(url)

        async def converse(number: int) -> set[str]:
            messages, sessions = [user(f"topic {number}")], set()
            for step in range(3):
                body = await client.chat.completions.create(model=MODEL, messages=messages)
                sessions.add(body.session_id)
                reply = body.choices[0].message.content
                messages += [assistant(reply), user(f"step {step}")]
            return sessions

        found = await asyncio.gather(*(converse(number) for number in range(8)))
    assert all(len(sessions) == 1 for sessions in found)
    assert len(set.union(*found)) == 8
    counts = gateway.log.counts()
    assert (counts.logged, counts.linked) == (24, 16)
