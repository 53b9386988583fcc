"""The endpoint over HTTP: shapes of answers and of refusals."""

import asyncio
import json
from dataclasses import replace

import httpx
import pytest

from clawjax.errors import EngineError, WireError
from clawjax.protocols import ServerStatus, Standing
from clawjax.records import TurnKind

from .helpers import MODEL, assistant, user


def error_of(response: httpx.Response) -> dict:
    assert set(response.json()) == {"error"}
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


async def test_a_completion_has_openais_shape(gateway):
    response = await gateway.chat(user("hi"), seed=5)
    body = response.json()
    assert response.headers["x-session-id"] == body["session_id"]
    assert body["id"].isalnum()
    assert (body["object"], body["model"]) == ("chat.completion", MODEL)
    (choice,) = body["choices"]
    assert choice == {
        "index": 0,
        "message": {"role": "assistant", "content": "hello there"},
        "logprobs": None,
        "finish_reason": "stop",
    }
    (turn,) = gateway.turns()
    usage = body["usage"]
    assert usage["prompt_tokens"] == len(turn.prompt_ids)
    assert usage["completion_tokens"] == len(turn.response_ids)
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["prompt_tokens_details"] == {"cached_tokens": 0}
    assert (turn.seed, turn.sampling.seed, turn.sampling.max_response_tokens) == (5, 5, 200)


async def test_choices_differ_in_seed_and_share_their_id(make_gateway):
    gateway = make_gateway(["one", "two", "three"])
    body = await gateway.say(user("hi"), n=3, seed=2**31 - 2)
    assert [choice["index"] for choice in body["choices"]] == [0, 1, 2]
    turns = sorted(gateway.turns(), key=lambda turn: turn.choice)
    assert [turn.reply.content for turn in turns] == [
        choice["message"]["content"] for choice in body["choices"]
    ]
    assert [turn.seed for turn in turns] == [2**31 - 2, 2**31 - 1, 0]
    assert {turn.response_id for turn in turns} == {body["id"]}
    assert body["usage"]["completion_tokens"] == sum(len(turn.response_ids) for turn in turns)


async def test_logprobs_cover_every_token(gateway):
    body = await gateway.say(user("hi"), logprobs=True)
    entries = body["choices"][0]["logprobs"]["content"]
    assert len(entries) == body["usage"]["completion_tokens"]
    assert "".join(entry["token"] for entry in entries).startswith("hello there")
    assert {entry["logprob"] for entry in entries} == {-1.0}
    assert bytes(entries[0]["bytes"]).decode() == entries[0]["token"]


async def test_bytes_of_tokens_join_to_the_reply(make_gateway):
    """Where a character takes several tokens, none of them is text by itself."""
    gateway = make_gateway(["né 😀"])
    body = await gateway.say(user("hi"), logprobs=True)
    entries = body["choices"][0]["logprobs"]["content"]
    joined = b"".join(bytes(entry["bytes"]) for entry in entries[:-1])
    assert joined.decode() == body["choices"][0]["message"]["content"] == "né 😀"
    assert "\ufffd" in {entry["token"] for entry in entries}


async def test_tool_calls_are_parsed_where_tools_are_offered(make_gateway):
    text = 'Let me see.\n<tool_call>\n{"name": "ls", "arguments": {"path": "/"}}\n</tool_call>'
    gateway = make_gateway([text])
    tools = [{"type": "function", "function": {"name": "ls"}}]
    (choice,) = (await gateway.say(user("hi"), tools=tools))["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] == "Let me see."
    (call,) = choice["message"]["tool_calls"]
    assert call["function"] == {"name": "ls", "arguments": '{"path": "/"}'}
    assert call["id"].isalnum()
    (choice,) = (await gateway.say(user("hi")))["choices"]
    assert (choice["finish_reason"], choice["message"]["content"]) == ("stop", text)


async def test_a_reply_never_leaves_the_context(make_gateway):
    gateway = make_gateway(["word " * 100], context_length=60)
    body = await gateway.say(user("hi"), max_tokens=65536)
    assert body["choices"][0]["finish_reason"] == "length"
    assert body["usage"]["total_tokens"] == 60


async def test_a_prompt_over_the_context_is_refused(make_gateway):
    response = await make_gateway(context_length=20).chat(user("hi " * 50))
    error = error_of(response)
    assert (response.status_code, error["code"]) == (400, "context_length_exceeded")
    assert "maximum context length is 20 tokens" in error["message"]


@pytest.mark.parametrize("name", [MODEL, "policy", None])
async def test_the_model_has_two_names(gateway, name):
    assert (await gateway.say(user("hi"), model=name))["model"] == MODEL


async def test_other_models_do_not_exist(gateway):
    for response in (
        await gateway.chat(user("hi"), model="gpt-9"),
        await gateway.client.get("/v1/models/gpt-9"),
    ):
        error = error_of(response)
        assert (response.status_code, error["code"]) == (404, "model_not_found")
        assert repr(MODEL) in error["message"]


async def test_models_are_listed(gateway):
    listed = (await gateway.client.get("/v1/models")).json()
    assert [model["id"] for model in listed["data"]] == [MODEL]
    assert (await gateway.client.get(f"/v1/models/{MODEL}")).json() == listed["data"][0]
    assert (await gateway.client.get("/v1/models/policy")).json()["context_length"] == 512


async def test_health_tells_of_the_loops_without_a_key(make_gateway):
    status = {"learner": "idle"}
    gateway = make_gateway(api_key="k", loop_status=lambda: status)
    response = await gateway.client.get("/healthz")
    assert response.status_code == 200
    assert response.json()["ok"] is True
    assert response.json()["loops"] == {"learner": "idle"}
    assert (response.json()["version"], response.json()["engine"]["slots"]) == (0, 64)
    assert response.json()["engine"]["prefix_hit_rate"] is None
    assert response.json()["run"] == "evening"


@pytest.mark.parametrize(
    ("is_healthy", "code", "state"), [(True, 200, "degraded"), (False, 503, "down")]
)
async def test_health_says_which_servers_are_out_and_why(gateway, is_healthy, code, state):
    ok = gateway.engine.status()
    assert (await gateway.client.get("/healthz")).json()["state"] == "ok"
    server = ServerStatus("http://10.0.0.2:30000", Standing.OUT, 3, "it cannot be reached")
    gateway.engine.status = lambda: replace(
        ok, is_healthy=is_healthy, trouble="one is out", servers=(server,)
    )
    response = await gateway.client.get("/healthz")
    assert (response.status_code, response.json()["state"]) == (code, state)
    assert response.json()["engine"]["trouble"] == "one is out"
    assert response.json()["engine"]["servers"] == [
        {
            "url": "http://10.0.0.2:30000",
            "standing": "out",
            "version": 3,
            "trouble": "it cannot be reached",
        }
    ]


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/feedback", "/v1/models"])
async def test_a_key_opens_every_route(make_gateway, path):
    gateway = make_gateway(api_key="s3cret")
    method = "GET" if path.endswith("models") else "POST"
    for header, said in ((None, "missing bearer token"), ("Bearer x", "invalid api key")):
        headers = {} if header is None else {"authorization": header}
        response = await gateway.client.request(method, path, json={}, headers=headers)
        assert response.status_code == 401
        assert error_of(response)["message"] == said
        assert error_of(response)["code"] == "invalid_api_key"
    headers = {"authorization": "Bearer s3cret"}
    response = await gateway.client.request(method, path, json={}, headers=headers)
    assert response.status_code == (200 if method == "GET" else 400)


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/chat/completions", 405, "method_not_allowed"),
        ("POST", "/v1/models", 405, "method_not_allowed"),
        ("POST", "/v1/embeddings", 404, "not_found"),
        ("POST", "/", 405, "method_not_allowed"),
        ("GET", "/v1/models/", 404, "model_not_found"),
    ],
)
async def test_other_routes(gateway, method, path, status, code):
    response = await gateway.client.request(method, path)
    assert (response.status_code, error_of(response)["code"]) == (status, code)


async def test_bodies_are_limited(make_gateway):
    gateway = make_gateway(config={"max_body_bytes": 100})

    async def endless():
        while True:
            yield b"x" * 64

    for content in (b"x" * 101, endless()):
        response = await gateway.client.post("/v1/chat/completions", content=content)
        assert response.status_code == 413
        assert "larger than 100 bytes" in error_of(response)["message"]


async def test_a_body_that_stops_coming_is_not_waited_for(make_gateway, monkeypatch):
    monkeypatch.setattr("clawjax.gateway.connection._BODY_TIMEOUT_S", 0.05)
    gateway = make_gateway()

    async def stalled():
        yield b"{"
        await asyncio.sleep(30)

    response = await gateway.client.post("/v1/chat/completions", content=stalled())
    assert (response.status_code, error_of(response)["code"]) == (408, "body_timeout")


async def test_malformed_bodies(gateway):
    response = await gateway.client.post("/v1/chat/completions", content=b'{"messages": [}')
    assert (response.status_code, error_of(response)["code"]) == (400, "invalid_json")
    assert gateway.turns() == []


class Refusing:
    """An engine that has stopped."""

    def __init__(self, engine, error):
        self._engine = engine
        self._error = error

    async def generate(self, request):
        raise self._error
        yield

    def status(self):
        return self._engine.status()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("error", "status"),
    [
        (EngineError("the engine has stopped"), 503),
        (WireError("overloaded", status=503, kind="server_error"), 503),
        (ValueError("private"), 500),
    ],
)
async def test_engine_trouble_before_the_first_token_has_a_status(
    make_gateway, monkeypatch, error, status, stream
):
    gateway = make_gateway()
    monkeypatch.setattr(gateway.engine, "generate", Refusing(gateway.engine, error).generate)
    response = await gateway.chat(user("hi"), stream=stream)
    assert response.status_code == status
    assert error_of(response)["type"] == "server_error"
    assert ("retry-after" in response.headers) == (status == 503)
    assert "private" not in response.text
    assert gateway.turns() == []


async def test_requests_are_counted(gateway):
    await gateway.say(user("hi"))
    await gateway.say(user("hi"), stream=False)
    await gateway.chat()
    await gateway.client.get("/v1/nothing")
    await gateway.client.get("/v1/chat/completions")
    await gateway.client.get("/healthz")
    assert gateway.log.counters() == {"requests": 3, "other_requests": 2, "non_2xx": 3}


async def test_a_slow_reply_is_ended_and_kept_as_cancelled(make_gateway):
    gateway = make_gateway(token_delay_s=0.4, config={"request_timeout_s": 1})
    response = await gateway.chat(user("hi"))
    assert (response.status_code, error_of(response)["code"]) == (504, "timeout")
    assert [turn.finish_reason for turn in gateway.turns()] == ["cancelled"]
    assert gateway.log.counts().dropped == {"cancelled": 1}


async def test_the_kind_of_a_turn_is_configured_and_can_be_told(make_gateway):
    gateway = make_gateway(config={"default_turn_kind": "side"})
    await gateway.say(user("hi"))
    await gateway.say(user("hi"), headers={"X-Turn-Type": "main"})
    await gateway.say(user("hi"), turn_type="main")
    assert [turn.kind for turn in gateway.turns()] == [TurnKind.SIDE, TurnKind.MAIN, TurnKind.MAIN]
    assert gateway.log.counts().dropped == {"side": 1}


async def test_reasoning_is_told_apart(make_gateway, qwen_tokenizer):
    gateway = make_gateway(["<think>\nhm\n</think>\n\nYes."], with_tokenizer=qwen_tokenizer)
    message = (await gateway.say(user("hi")))["choices"][0]["message"]
    assert message == {"role": "assistant", "content": "Yes.", "reasoning_content": "hm"}
    follow_up = await gateway.say(user("hi"), assistant("Yes."), user("more"))
    first, second = gateway.turns()
    assert follow_up["session_id"] == first.session_id
    assert second.parent_turn_id == first.turn_id
    assert "hm" in qwen_tokenizer.decode(first.response_ids)
    assert "hm" not in qwen_tokenizer.decode(second.prompt_ids)  # as the template wants it


async def test_bodies_are_json_with_text_as_it_is(gateway):
    response = await gateway.chat(user("grüße 🦀"))
    assert json.loads(response.content)["object"] == "chat.completion"
    assert gateway.turns()[0].messages[0].content == "grüße 🦀"
