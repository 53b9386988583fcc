"""The application in this process, over any engine."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace

import httpx
import pytest

from clawjax.engine.server.app import create_app, new_backend
from clawjax.engine.server.backend import Settings, Startup
from clawjax.engine.server.shelf import WeightShelf
from clawjax.engine.server.wire import Wanted
from clawjax.gateway.failures import StreamAborted
from clawjax.models.tiny import tiny_tokenizer
from clawjax.models.tokenizer import ChatTokenizer
from clawjax.protocols import TokenChunk
from clawjax.records import FinishReason, Grammar, GrammarKind, SamplingParams
from clawjax.testing import FakeEngine

SETTINGS = Settings(model_path="fake", model_name="fake")
EVERY_PATH = [
    ("POST", "/generate"), ("POST", "/v1/completions"), ("POST", "/v1/chat/completions"),
    ("GET", "/health_generate"), ("GET", "/get_model_info"), ("GET", "/get_server_info"),
    ("GET", "/v1/models"), ("POST", "/abort_request"), ("POST", "/pause_generation"),
    ("POST", "/continue_generation"), ("POST", "/flush_cache"), ("GET", "/health"),
    ("POST", "/update_weights_from_disk"),
]  # fmt: skip


@pytest.fixture
def startup() -> Startup:
    return Startup()


@pytest.fixture
async def client(startup: Startup) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app(startup, SETTINGS))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield client


@pytest.fixture
def engine(startup: Startup) -> FakeEngine:
    tokenizer = tiny_tokenizer()
    engine = FakeEngine(tokenizer, ["hello you"])
    startup.complete(new_backend(engine, tokenizer, WeightShelf("base", "v1"), SETTINGS))
    return engine


@pytest.mark.parametrize(("method", "path"), EVERY_PATH)
async def test_everything_is_503_while_starting(
    client: httpx.AsyncClient, method: str, path: str
) -> None:
    answer = await client.request(
        method, path, json={"model_path": "x"} if method == "POST" else None
    )
    assert answer.status_code == 503
    assert "starting" in answer.json()["error"]["message"]


@pytest.mark.parametrize("path", ["/generate", "/v1/completions"])
async def test_a_text_goes_on_with_the_space_before_its_next_word(
    client: httpx.AsyncClient,
    startup: Startup,
    spacing_tokenizer: ChatTokenizer,
    path: str,
) -> None:
    engine = FakeEngine(spacing_tokenizer, ["upon"])
    startup.complete(new_backend(engine, spacing_tokenizer, WeightShelf("base", "v1"), SETTINGS))
    asked = {"text": "Once", "prompt": "Once", "model": "fake"}
    body = (await client.post(path, json=asked)).json()
    (answer,) = body.get("choices", [body])
    assert answer["text"] == " upon"


@pytest.mark.parametrize("path", ["/generate", "/v1/completions"])
async def test_no_character_of_a_reply_ends_a_line(
    client: httpx.AsyncClient, startup: Startup, path: str
) -> None:
    said, tokenizer = "one\u2028two\u2029three\x85four", tiny_tokenizer()
    engine = FakeEngine(tokenizer, [said])
    startup.complete(new_backend(engine, tokenizer, WeightShelf("base", "v1"), SETTINGS))
    body = {"text": "hi", "prompt": "hi", "model": "fake", "stream": True, "max_tokens": 99}
    async with client.stream("POST", path, json=body) as response:
        lines = [line async for line in response.aiter_lines() if line]
    assert all(line.startswith("data: ") for line in lines)
    bodies = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
    parts = [body["choices"][0]["text"] if "choices" in body else body["text"] for body in bodies]
    assert said in (parts[-1], "".join(parts))


async def test_any_engine_is_served(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    body = {
        "text": "hi",
        "sampling_params": {"max_new_tokens": 50},
        "return_logprob": True,
        "logprob_start_len": 0,
    }
    answer = (await client.post("/generate", json=body)).json()
    meta = answer["meta_info"]
    assert answer["text"] == "hello you"
    assert meta["finish_reason"]["type"] == "stop"
    assert meta["finish_reason"]["matched"] == answer["output_ids"][-1]
    assert [entry[0] for entry in meta["input_token_logprobs"]] == [None, -1.0]
    assert {entry[0] for entry in meta["output_token_logprobs"]} == {-1.0}
    assert set(meta["output_token_sampler_logprobs"]) == {-0.5}
    assert meta["weight_version"] == "v1"
    assert len(engine.scored) == len(engine.requests) == 1
    chat = {"messages": [{"role": "user", "content": "hi"}], "model": "fake"}
    said = (await client.post("/v1/chat/completions", json=chat)).json()
    assert said["choices"][0]["message"]["content"] == "hello you"


async def test_who_reads_slowly_misses_nothing(startup: Startup) -> None:
    said, tokenizer = "x" * 700, tiny_tokenizer()
    backend = new_backend(
        FakeEngine(tokenizer, [said], context_length=2048),
        tokenizer,
        WeightShelf("base", "v1"),
        SETTINGS,
    )
    sampling = SamplingParams(900, temperature=0.0)
    wanted = Wanted("a", "a", None, (1,), sampling, seed=0)
    seen = []
    async with aclosing(
        backend.generator.grow_all([wanted], lambda _, answer: len(answer.token_ids))
    ) as growing:
        async for length in growing:
            seen.append(length)
            if len(seen) == 1:
                await asyncio.sleep(0.5)  # the reply ends meanwhile, with all room taken
    assert seen == sorted(set(seen))
    assert seen == list(range(seen[0], len(tokenizer.encode(said)) + 2, seen[1] - seen[0]))


@pytest.mark.parametrize("path", ["/generate", "/v1/completions", "/v1/chat/completions"])
async def test_who_stops_reading_is_let_go(startup: Startup, path: str) -> None:
    tokenizer, settings = tiny_tokenizer(), replace(SETTINGS, unread_timeout_s=0.1)
    engine = FakeEngine(tokenizer, ["x" * 700], context_length=2048, token_delay_s=0.01)
    startup.complete(new_backend(engine, tokenizer, WeightShelf("base", "v1"), settings))
    body = {"stream": True, "model": "fake", "messages": [{"role": "user", "content": "hi"}]}
    body |= {"text": "hi", "prompt": "hi", "sampling_params": {"max_new_tokens": 700}}
    arriving = [{"type": "http.request", "body": json.dumps(body).encode()}]

    async def receive() -> dict:
        return arriving.pop() if arriving else await asyncio.Future()

    async def send(message: dict) -> None:
        if message["type"] == "http.response.body":
            await asyncio.Future()

    scope = {"type": "http", "method": "POST", "path": path, "query_string": b""}
    scope["headers"] = [(b"host", b"localhost")]
    async with asyncio.timeout(20):
        with pytest.raises(StreamAborted):
            await create_app(startup, settings)(scope, receive, send)
    assert len(engine.requests) == len(engine.cancelled) == 1


async def test_the_probe_of_health_waits_for_no_weights(
    client: httpx.AsyncClient, startup: Startup, engine: FakeEngine, monkeypatch
) -> None:
    def refuse(name):
        raise AssertionError(name)

    monkeypatch.setattr(startup.backend.policies, "using", refuse)
    assert (await client.get("/health_generate")).status_code == 200
    assert len(engine.requests) == 1


class Aborted(FakeEngine):
    """Reads a prompt of three tokens until it is aborted, and any other at once."""

    async def read(self, request, *, top_logprobs=0):
        if len(request.prompt_ids) + len(request.response_ids) == 3:
            return TokenChunk((), (), (), (), finish_reason=FinishReason.CANCELLED)
        logprobs = await self.score(request)
        return TokenChunk(request.response_ids, logprobs, logprobs, (0,) * len(logprobs))

    def abort(self, request_id=None):
        raise AssertionError

    pause = resume = flush = abort


async def test_a_body_without_a_length_is_read(startup: Startup) -> None:
    paused: list[str] = []

    class Pausing(Aborted):
        async def pause(self, mode, *, lease_s):
            paused.append(mode.value)

    tokenizer = tiny_tokenizer()
    shelf = WeightShelf("base", "v1")
    startup.complete(new_backend(Pausing(tokenizer, ["hi"]), tokenizer, shelf, SETTINGS))

    async def body() -> AsyncIterator[bytes]:
        yield b'{"mode": "in'
        yield b'_place"}'

    transport = httpx.ASGITransport(create_app(startup, SETTINGS))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        assert (await client.post("/pause_generation", content=body())).status_code == 200
        assert (await client.post("/pause_generation")).status_code == 200
    assert paused == ["in_place", "abort"]


@pytest.mark.parametrize("top_logprobs", [0, 2])
async def test_a_prompt_whose_reading_is_aborted_is_an_answer_beside_the_others(
    client: httpx.AsyncClient, startup: Startup, top_logprobs: int
) -> None:
    tokenizer = tiny_tokenizer()
    engine = Aborted(tokenizer, ["hello you"])
    startup.complete(new_backend(engine, tokenizer, WeightShelf("base", "v1"), SETTINGS))
    body = {"input_ids": [[5, 6, 7], [5, 6]], "return_logprob": True, "logprob_start_len": 0}
    body |= {"top_logprobs_num": top_logprobs}
    answer = await client.post("/generate", json=body)
    assert answer.status_code == 200, answer.text
    aborted, read = (one["meta_info"] for one in answer.json())
    assert aborted["finish_reason"]["type"] == "abort"
    assert not {"input_token_logprobs", "input_top_logprobs"} & set(aborted)
    assert read["finish_reason"]["type"] == "stop"
    assert [entry[0] for entry in read["input_token_logprobs"]] == [None, -1.0]


async def test_a_grammar_reaches_the_engine(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    body = {"text": "hi", "sampling_params": {"json_schema": "{}"}}
    assert (await client.post("/generate", json=body)).status_code == 200
    chat = {"messages": [{"role": "user", "content": "hi"}], "model": "fake"}
    schema = {"type": "object"}
    wanted = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    await client.post("/v1/chat/completions", json={**chat, "response_format": wanted})
    grammars = [request.sampling.grammar for request in engine.requests]
    assert grammars == [
        Grammar(GrammarKind.JSON_SCHEMA, "{}"),
        Grammar(GrammarKind.JSON_SCHEMA, json.dumps(schema)),
    ]


@pytest.mark.parametrize("path", ["/pause_generation", "/continue_generation", "/flush_cache"])
async def test_what_an_engine_cannot_do_is_501(
    client: httpx.AsyncClient, engine: FakeEngine, path: str
) -> None:
    answer = await client.post(path, json={})
    assert answer.status_code == 501
    assert "FakeEngine" in answer.json()["error"]["message"]


async def test_an_engine_that_fails_half_way_is_told_in_the_stream(
    client: httpx.AsyncClient, startup: Startup
) -> None:
    tokenizer = tiny_tokenizer()
    engine = FakeEngine(tokenizer, ["hello you"], fails_after=2)
    startup.complete(new_backend(engine, tokenizer, WeightShelf("base", "v1"), SETTINGS))
    body = {"text": "hi", "stream": True}
    answer = await client.post("/generate", json=body)
    events = [line for line in answer.text.split("\n\n") if line]
    assert len(events) == 4
    assert "told to fail" in events[2]
    assert events[3] == "data: [DONE]"
    assert (await client.post("/generate", json={"text": "hi"})).status_code == 503


async def test_errors_have_the_shape_of_their_route(
    client: httpx.AsyncClient, engine: FakeEngine
) -> None:
    native = (await client.post("/generate", json={"input_ids": "x"})).json()
    assert native["object"] == "error"
    assert native["code"] == 400
    openai = (await client.post("/v1/completions", json={"prompt": "x", "max_tokens": "y"})).json()
    assert openai["error"]["type"] == "invalid_request_error"
    assert openai["error"]["param"] == "max_tokens"
    for name, value in (("echo", True), ("suffix", "x"), ("best_of", 3)):
        refused = await client.post("/v1/completions", json={"prompt": "x", name: value})
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, name)
    assert (await client.get("/nothing")).json() == {"detail": "Not Found"}


@pytest.mark.parametrize("page", [{"origin": "http://evil.example"}, {"host": "evil.example"}])
async def test_a_page_of_another_site_changes_no_weights(
    client: httpx.AsyncClient, engine: FakeEngine, page: dict[str, str]
) -> None:
    for method, path in EVERY_PATH:
        refused = await client.request(method, path, headers=page)
        assert refused.status_code == 403, path
    assert engine.requests == []
