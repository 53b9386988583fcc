"""A router before two servers: the real one of SGLang, where it is installed.

`pip install sglang-router`, in an environment of its own if you like; CLAWJAX_TEST_ROUTER names the
program otherwise.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import AsyncExitStack, aclosing

import pytest
from _engine_servers import find_router
from sampled_replies import PROMPT, collect, config, engine_of, request, until, weights
from scripted_server import ScriptedServer

from clawjax.config import DeliveryConfig
from clawjax.engine.sglang.http import Connections, ServerClient
from clawjax.errors import ConfigError
from clawjax.records import FinishReason

ROUTER = find_router()


def free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as other:
        for listener in (one, other):
            listener.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]


@pytest.fixture
async def two():
    async with AsyncExitStack() as stack:
        servers = [ScriptedServer(token_delay_s=0.02) for _ in range(2)]
        yield [await stack.enter_async_context(server.serving()) for server in servers]


@pytest.fixture
async def router(two, tmp_path):
    if ROUTER is None:
        pytest.skip("sglang-router is not installed")
    port, metrics = free_ports()
    with (tmp_path / "router.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            ROUTER, "launch", "--host", "127.0.0.1", "--port", str(port),
            "--prometheus-port", str(metrics), "--policy", "round_robin",
            "--health-check-interval-secs", "1", "--worker-startup-check-interval", "1",
            "--retry-max-retries", "1", "--worker-urls", *(server.url for server in two),
            stdout=log, stderr=log,
        )  # fmt: skip
    async with Connections.open(config("http://unused").sglang, None) as pool:
        yield ServerClient(pool, f"http://127.0.0.1:{port}")
    assert process.returncode is None, (tmp_path / "router.log").read_text()[-2000:]
    process.kill()
    await process.wait()


def through(router, **sglang):
    disk = DeliveryConfig(transport="disk")
    return {"router": router.url, "delivery": disk, "wait_for_server_s": 20.0} | sglang


async def workers_are(router, *servers):
    wanted = {server.url for server in servers}
    async with asyncio.timeout(20):
        while True:
            answer = await router.call("GET", "/workers", timeout_s=5.0)
            healthy = {worker["url"] for worker in answer["workers"] if worker["is_healthy"]}
            if healthy == wanted:
                return
            await asyncio.sleep(0.05)


def asked(server):
    return [r for r in server.requests if r.get("stream")]


async def test_replies_come_through_the_router_and_weights_go_past_it(router, two):
    async with engine_of(*two, **through(router)) as engine:
        await engine.swap(weights(2))
        replies = [await collect(engine, request(str(i))) for i in range(4)]
    assert all(reply.token_ids == two[0].expected(PROMPT, 12) for reply in replies)
    assert all(set(reply.versions) == {2} for reply in replies)
    assert [server.weight_version for server in two] == ["2", "2"]
    assert all(asked(server) for server in two)
    body = asked(two[0])[0]
    assert body["input_ids"] == list(PROMPT)
    assert body["extra_key"].startswith("clawjax-000002-")
    assert body["sampling_params"]["sampling_seed"] == 7


async def test_closing_a_reply_frees_the_server_behind_the_router(router, two):
    async with engine_of(*two, **through(router)) as engine:
        async with aclosing(engine.generate(request(tokens=400))) as chunks:
            async for _ in chunks:
                break
        assert all(server.aborted == ["r-0"] for server in two)
        await until(lambda: not any(server.running for server in two))


async def test_the_router_does_not_ask_a_server_without_the_weights(router, two):
    two[0].update_fails = "no space left on device"
    async with engine_of(*two, **through(router)) as engine:
        await engine.swap(weights(1))
        await workers_are(router, two[1])
        for i in range(4):
            assert set((await collect(engine, request(str(i)))).versions) == {1}
        two[0].update_fails = None
        await workers_are(router, *two)


async def test_a_server_that_dies_behind_the_router_costs_no_chat(router, two):
    async with AsyncExitStack() as stack:
        dying = await stack.enter_async_context(ScriptedServer(token_delay_s=0.02).serving())
        limits = {"max_continuations": 20}
        async with engine_of(*two, dying, **through(router, **limits)) as engine:
            await workers_are(router, *two, dying)
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(collect(engine, request(str(i), tokens=30))) for i in range(6)
                ]
                await until(lambda: dying.running > 0)
                await stack.aclose()
    expected = two[0].expected(PROMPT, 30)
    assert all(task.result().token_ids == expected for task in tasks)
    assert all(task.result().finish_reason is FinishReason.LENGTH for task in tasks)


def test_a_router_and_adapters_do_not_go_together():
    with pytest.raises(ConfigError, match=r"delivery\.transport=disk"):
        config("http://a:1", router="http://b:1")
