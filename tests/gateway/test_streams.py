"""Streams of every dialect over a real connection: silence, failure, and clients that leave."""

import asyncio
import json
from dataclasses import replace

import httpx
import pytest

from clawjax.errors import EngineError
from clawjax.gateway import chat_endpoints
from clawjax.gateway.failures import StreamAborted
from clawjax.records import FinishReason

from .helpers import serving, user

CHAT = ("/v1/chat/completions", {"messages": [user("hi")]})
TEXT = ("/v1/completions", {"prompt": "hi", "max_tokens": 200})
RESPONSES = ("/v1/responses", {"input": "hi"})
MESSAGES = ("/v1/messages", {"messages": [user("hi")], "max_tokens": 200})
EVERY = pytest.mark.parametrize(
    ("path", "body"), [CHAT, TEXT, RESPONSES, MESSAGES], ids=lambda value: str(value)[:12]
)


async def until(condition) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - what is awaited happens in threads
            await asyncio.sleep(0.02)


async def read(url: str, path: str, body: dict) -> tuple[str, bool]:
    """The stream's text and whether it ended cleanly."""
    text = ""
    try:
        async with (
            httpx.AsyncClient(base_url=url, timeout=60) as client,
            client.stream("POST", path, json={**body, "stream": True}) as response,
        ):
            assert response.status_code == 200
            async for piece in response.aiter_text():
                text += piece
    except httpx.RemoteProtocolError:
        return text, False
    return text, True


@EVERY
async def test_a_stream_that_dies_says_so_and_is_broken_off(make_gateway, path, body):
    gateway = make_gateway(["one two three four"], fails_after=3)
    async with serving(gateway.app) as url:
        text, is_clean = await read(url, path, body)
    assert not is_clean
    assert "told to fail" in text.splitlines()[-2]
    assert not any(mark in text for mark in ("[DONE]", "message_stop", "response.completed"))
    last = json.loads(text.splitlines()[-2].removeprefix("data: "))
    match path:
        case "/v1/messages":
            assert "event: error" in text
            assert last["error"]["type"] == "overloaded_error"
        case "/v1/responses":
            assert (last["type"], last["response"]["status"]) == ("response.failed", "failed")
            assert last["response"]["error"]["code"] == "engine_unavailable"
        case _:
            assert last["error"]["code"] == "engine_unavailable"


@EVERY
async def test_silence_is_broken_by_comments(make_gateway, path, body):
    gateway = make_gateway(["a b c"], token_delay_s=0.5, config={"keep_alive_s": 0.1})
    async with serving(gateway.app) as url:
        text, is_clean = await read(url, path, body)
    assert is_clean
    assert text.startswith(": keep-alive\n\n")
    assert text.count(": keep-alive") >= 4
    assert gateway.turns()[0].reply.content == "a b c"
    assert text.rstrip().splitlines()[-1].startswith("data: ")


@EVERY
async def test_no_character_of_a_reply_ends_a_line(make_gateway, path, body):
    """Clients split lines as `str.splitlines` does, at more than the newline."""
    said = "one\u2028two\u2029three\x85four\x0bfive\x0csix\x1cseven"
    gateway = make_gateway([said])
    async with (
        serving(gateway.app) as url,
        httpx.AsyncClient(base_url=url, timeout=60) as client,
        client.stream("POST", path, json={**body, "stream": True}) as response,
    ):
        lines = [line async for line in response.aiter_lines() if line]
    assert all(line.startswith(("data: ", "event: ")) for line in lines)
    texts = [line.removeprefix("data: ") for line in lines if line.startswith("data: {")]
    assert said in "".join(map(_piece, map(json.loads, texts)))


def _piece(event: dict) -> str:
    """What an event of any dialect adds to the reply."""
    if event.get("type") == "response.output_text.delta":
        return event["delta"]
    if event.get("type") == "content_block_delta":
        return event["delta"]["text"]
    choices = event.get("choices", [])
    return "".join(
        choice.get("text", choice.get("delta", {}).get("content", "")) for choice in choices
    )


async def test_a_failure_after_a_comment_is_an_event(make_gateway, monkeypatch):
    """The status has left by then."""
    gateway = make_gateway(config={"keep_alive_s": 0.05})

    async def slowly(request):
        await asyncio.sleep(0.5)
        msg = "the engine has stopped"
        raise EngineError(msg)
        yield

    monkeypatch.setattr(gateway.engine, "generate", slowly)
    async with serving(gateway.app) as url:
        for path, body in (CHAT, RESPONSES, MESSAGES):
            text, is_clean = await read(url, path, body)
            assert not is_clean
            assert "the engine has stopped" in text.splitlines()[-2]


async def test_a_client_that_stops_reading_is_let_go(make_gateway, monkeypatch):
    monkeypatch.setattr(chat_endpoints, "_FAREWELL_S", 0.1)
    gateway = make_gateway(config={"request_timeout_s": 1})
    path, body = CHAT
    arriving = [{"type": "http.request", "body": json.dumps({**body, "stream": True}).encode()}]
    scope = {"type": "http", "method": "POST", "path": path, "query_string": b""}
    scope["headers"] = [(b"host", b"localhost")]

    async def receive() -> dict:
        return arriving.pop() if arriving else await asyncio.Future()

    async def send(message: dict) -> None:
        if message["type"] == "http.response.body":
            await asyncio.Future()

    async with asyncio.timeout(20):
        with pytest.raises(StreamAborted):
            await gateway.app(scope, receive, send)


@EVERY
@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_cancels_its_reply(make_gateway, path, body, stream):
    gateway = make_gateway(["word " * 100], token_delay_s=0.05)
    async with serving(gateway.app) as url:
        async with httpx.AsyncClient(base_url=url) as client:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1):
                    await client.post(path, json={**body, "stream": stream})
        await until(lambda: gateway.log.counts().logged == 1)
    assert len(gateway.engine.cancelled) == 1
    assert gateway.turns()[0].finish_reason is FinishReason.CANCELLED
    reason = "side" if path == TEXT[0] else "cancelled"
    assert gateway.log.counts().dropped == {reason: 1}, "it is no sample"


@EVERY
async def test_the_first_event_leaves_with_the_first_token(make_gateway, path, body):
    gateway = make_gateway(["word " * 40], token_delay_s=0.2)
    async with (
        serving(gateway.app) as url,
        httpx.AsyncClient(base_url=url, timeout=60) as client,
        client.stream("POST", path, json={**body, "stream": True}) as response,
    ):
        first = await anext(response.aiter_text())
        assert gateway.log.counts().logged == 0
        assert first.startswith(("data: ", "event: "))
    await until(lambda: gateway.log.counts().logged == 1)
    assert len(gateway.turns()[0].response_ids) < 40


async def test_usage_counts_what_the_engine_counted(make_gateway, monkeypatch):
    gateway = make_gateway(["hello there"] * 6)
    generate = gateway.engine.generate

    async def with_cache(request):
        cached = 2
        async for chunk in generate(request):
            yield replace(chunk, cached_tokens=cached)
            cached = 0

    monkeypatch.setattr(gateway.engine, "generate", with_cache)
    async with serving(gateway.app) as url:
        chat, _ = await read(url, CHAT[0], {**CHAT[1], "stream_options": {"include_usage": True}})
        responses, _ = await read(url, *RESPONSES)
        messages, _ = await read(url, *MESSAGES)
    first, second, third = gateway.turns()

    def last(text: str, back: int) -> dict:
        lines = [line for line in text.splitlines() if line.startswith("data: {")]
        return json.loads(lines[-back].removeprefix("data: "))

    usage = last(chat, 1)["usage"]
    assert usage["prompt_tokens_details"]["cached_tokens"] == 2
    assert usage["prompt_tokens"] == len(first.prompt_ids)
    usage = last(responses, 1)["response"]["usage"]
    assert usage["input_tokens_details"]["cached_tokens"] == 2
    assert usage["input_tokens"] == len(second.prompt_ids)
    usage = last(messages, 2)["usage"]
    assert usage["cache_read_input_tokens"] == 2
    assert usage["input_tokens"] + 2 == len(third.prompt_ids)
    assert usage["output_tokens"] == len(third.response_ids)
