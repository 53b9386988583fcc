"""Which weights the engine's servers have: at the start, after a swap, after a loss."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager

import pytest
from sampled_replies import (
    PROMPT,
    Collected,
    Delivered,
    DiskCourier,
    Store,
    assert_whole,
    collect,
    engine_of,
    request,
    until,
    weights,
)
from scripted_server import ScriptedServer

from clawjax.engine.sglang.delivery_plan import adapter_name
from clawjax.errors import ConfigError, EngineError, StoreError


def cache_keys(*servers):
    """In order of their first use."""
    asked = [r for server in servers for r in server.requests if r.get("stream")]
    return list(dict.fromkeys(r["extra_key"] for r in asked))


async def test_weights_reach_every_server_and_tokens_say_which(two):
    for server in two:
        server.token_delay_s = 0.02
    async with engine_of(*two) as engine:
        begun = Collected()
        running = asyncio.create_task(collect(engine, request(tokens=60), into=begun))
        await until(lambda: len(begun.token_ids) > 1)
        await engine.swap(weights(3))
        assert engine.status().version == 3
        assert [server.weight_version for server in two] == ["3", "3"]
        reply = await running
        after = await collect(engine, request())
    assert reply.token_ids == two[0].expected(PROMPT, 60)
    assert set(reply.versions) == {0, 3}
    assert list(reply.versions) == sorted(reply.versions)
    assert set(after.versions) == {3}
    assert len(cache_keys(*two)) == 2, "cached prefixes are kept apart"


async def test_a_version_that_comes_back_does_not_meet_what_was_cached_while_it_was_away(server):
    async with engine_of(server) as engine:
        for version in (3, 3, 4, 3):
            await engine.swap(weights(version))
            await collect(engine, request())
    assert [int(key.split("-")[1]) for key in cache_keys(server)] == [3, 4, 3]


async def test_the_base_model_is_told_from_that_of_an_earlier_process(server):
    for _ in range(2):
        async with engine_of(server) as engine:
            await collect(engine, request())
    assert len(cache_keys(server)) == 2


class Slow(DiskCourier):
    async def deliver(self, client, weights, on_version, *, is_doubtful):
        await asyncio.sleep(0.2)
        return await super().deliver(client, weights, on_version, is_doubtful=is_doubtful)


async def test_the_version_served_is_the_old_one_until_a_server_has_the_new(two):
    async with engine_of(*two, courier=Slow) as engine:
        swapping = asyncio.create_task(engine.swap(weights(1)))
        await until(lambda: engine._rotation.wanted.version == 1)
        assert engine.status().version == 0, "while the first version is on its way, too"
        await swapping
        assert engine.status().version == 1


async def test_weights_do_not_come_between_while_a_server_is_looked_at(server):
    async with engine_of(server, health_interval_s=60.0) as engine:
        (known,) = engine._pool.servers
        engine._pool.remove(known, "its connection broke")
        async with asyncio.TaskGroup() as group:
            group.create_task(engine._rotation.look(known))
            group.create_task(engine.swap(weights(2)))
        assert (known.trouble, known.version, known.word) == (None, 2, "2")
        assert set((await collect(engine, request())).versions) == {2}
    assert len(server.updates) == 1


async def test_a_server_that_takes_no_weights_leaves_until_it_does(two, caplog):
    two[0].update_fails = "no space left on device"
    async with engine_of(*two) as engine:
        await engine.swap(weights(1))
        assert engine.status().version == 1
        assert [s.url for s in engine._pool.serving] == [two[1].url]
        assert "no space left on device" in caplog.text
        for i in range(6):
            reply = await collect(engine, request(prompt=[*PROMPT, i + 20]))
            assert set(reply.versions) == {1}
        two[0].update_fails = None
        await until(lambda: len(engine._pool.serving) == 2)
    assert two[0].weight_version == "1"


class Damaged(DiskCourier):
    damaged = 2


async def test_damaged_weights_change_nothing(two):
    async with engine_of(*two, courier=Damaged) as engine:
        await engine.swap(weights(1))
        with pytest.raises(StoreError, match="damaged"):
            await engine.swap(weights(2))
        assert engine.status().version == 1
        assert len(engine._pool.serving) == 2
        assert set((await collect(engine, request())).versions) == {1}


async def test_a_server_started_anew_gets_its_weights_before_a_request(server):
    async with engine_of(server) as engine:
        await engine.swap(weights(4))
        server.weight_version = "default"
        await until(lambda: server.weight_version == "4")
        assert set((await collect(engine, request())).versions) == {4}
    assert len(server.updates) == 2


async def test_a_server_started_anew_unseen_is_not_believed(server):
    async with engine_of(server, health_interval_s=60.0) as engine:
        await engine.swap(weights(4))
        server.weight_version = "7"  # nobody has looked since
        assert set((await collect(engine, request())).versions) == {4}
    assert [update["weight_version"] for update in server.updates] == ["4", "4"]


class AdapterCourier:
    """Loads adapters as SGLang takes them, and asks for the newest."""

    def __init__(self):
        self._newest = 0

    async def deliver(self, client, weights, on_version, *, is_doubtful):
        name = adapter_name(weights.version)
        if name is not None:
            body = {"lora_name": name, "lora_path": str(weights.path)}
            await client.call("POST", "/load_lora_adapter", body, timeout_s=2.0)
        self._newest = weights.version
        return Delivered(lora_path=name)

    @contextmanager
    def asked(self):
        yield self._newest


async def test_a_server_that_was_lost_for_a_moment_keeps_its_adapters(server):
    async with engine_of(server, courier=AdapterCourier) as engine:
        await engine.swap(weights(4))
        server.health = 500
        await until(lambda: not engine._pool.serving)
        server.health = 200
        assert set((await collect(engine, request())).versions) == {4}
        assert server.loads == [adapter_name(4)]
        server.adapters.clear()  # started anew
        server.health = 500
        await until(lambda: not engine._pool.serving)
        server.health = 200
        assert set((await collect(engine, request())).versions) == {4}
        assert server.loads == [adapter_name(4)] * 2


async def test_the_first_reply_is_of_the_version_that_the_store_points_to(server):
    async with engine_of(server, store=Store(weights(5))) as engine:
        assert engine.status().version == 5
        assert set((await collect(engine, request())).versions) == {5}


async def test_damaged_weights_at_the_start_leave_the_base_model(server, caplog):
    async with engine_of(server, store=Store(weights(2)), courier=Damaged) as engine:
        assert engine.status().version == 0
        assert set((await collect(engine, request())).versions) == {0}
    assert "serving the base model" in caplog.text


async def test_weights_of_another_run_are_replaced_by_the_base_model(server):
    server.weight_version = "9"
    async with engine_of(server) as engine:
        assert set((await collect(engine, request())).versions) == {0}
    assert server.updates[0]["weight_version"] == "0"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"model": "models/other"}, "its model is 'models/other'"),
        ({"context": 100}, "its context is 100 tokens"),
        ({"token_shift": 1}, "its tokenizer makes"),
        ({"template_tokens": 3}, "its chat template makes"),
        ({"logprobs_of": "original"}, "SGLANG_RETURN_ORIGINAL_LOGPROB"),
    ],
)
async def test_a_server_of_something_else_is_refused_at_the_start(server, change, says):
    for name, value in change.items():
        setattr(server, name, value)
    with pytest.raises(ConfigError, match=says):
        async with engine_of(server):
            pass


async def test_all_that_differs_is_said_at_once(server):
    server.model, server.context = "models/other", 100
    with pytest.raises(ConfigError, match=r"its model is .*; its context is 100"):
        async with engine_of(server):
            pass


async def test_a_server_that_can_do_little_will_do(server, caplog):
    server.has_extras, server.takes_seed, server.weight_version = False, False, None
    async with (
        ScriptedServer(has_extras=False, takes_seed=False, weight_version=None).serving() as poor,
        engine_of(poor) as engine,
    ):
        assert_whole(await collect(engine, request()), poor)
        assert "sampling_seed" not in poor.requests[-1]["sampling_params"]
    assert "does not tell how it tokenises" in caplog.text


async def test_nobody_there_is_said_with_the_address():
    with pytest.raises(EngineError, match=r"127\.0\.0\.1:9"):
        async with engine_of("http://127.0.0.1:9", wait_for_server_s=0.1):
            pass
