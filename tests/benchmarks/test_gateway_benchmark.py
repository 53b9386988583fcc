"""What the gateway's benchmark computes, and its client against a real server."""

import asyncio

import pytest
from _gateway_load import ASKED, HISTORY, goals, quantiles_ms
from _gateway_server import MODEL, NullEngine
from _http_load import connected, post

from clawjax.config import EngineConfig, GatewayConfig, ModelConfig
from clawjax.gateway.app import GatewayDeps, create_app
from clawjax.models.load import load_tokenizer
from clawjax.protocols import GenerateRequest
from clawjax.records import SamplingParams
from clawjax.runtime.loopback import serving
from clawjax.testing import temporary_log

ROWS = [
    {"case": "added, /a", "p50_ms": 1.0},
    {"case": "added, /b", "p50_ms": 4.0},
    {"case": "32 connections", "p50_ms": 90.0, "requests_per_s": 510.0},
    {"case": "200 streams", "stall_ms": 250.0},
]


def test_the_slowest_dialect_counts() -> None:
    assert [(goal.value, goal.met) for goal in goals(ROWS)] == [
        (4.0, False),
        (510.0, True),
        (250.0, True),
    ]
    assert [goal.met for goal in goals([])] == [False] * 3


def test_quantiles_are_in_milliseconds() -> None:
    found = quantiles_ms([0.001 * i for i in range(1, 102)])
    assert found == {"p50_ms": pytest.approx(51), "p90_ms": pytest.approx(91), "p99_ms": 100}


async def test_the_null_engine_keeps_its_pace() -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    request = GenerateRequest("a", (1,), SamplingParams(max_response_tokens=5), seed=0)
    chunks = [chunk async for chunk in NullEngine(20.0).generate(request)]
    assert [len(chunk.token_ids) for chunk in chunks] == [1] * 5
    assert loop.time() - began >= 0.19
    (whole,) = [chunk async for chunk in NullEngine(0.0).generate(request)]
    assert len(whole.token_ids) == len(whole.versions) == 5


async def test_the_client_reads_answers_and_streams(tmp_path) -> None:
    log = temporary_log(tmp_path)
    app = create_app(
        GatewayDeps(
            engine=NullEngine(0.0),
            tokenizer=load_tokenizer(ModelConfig(path="random:llama"))[0],
            log=log,
            config=GatewayConfig(),
            sampling_defaults=EngineConfig(),
            model_name=MODEL,
        )
    )
    async with serving(app) as url, connected(url) as connection:
        for path, body in ASKED.items():
            answer = await connection.ask(post(url, path, {"model": MODEL, **body}))
            assert b"word word" in answer
        stream = {"messages": HISTORY, "max_tokens": 4, "stream": True}
        arrived = await connection.stream(post(url, "/v1/chat/completions", stream))
        assert len(arrived) >= 3
        assert arrived == sorted(arrived)
        with pytest.raises(RuntimeError, match="400"):
            await connection.ask(post(url, "/v1/chat/completions", {}))
    assert log.counts().logged == len(ASKED) + 1
    log.close()
