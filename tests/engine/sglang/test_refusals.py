"""Weights that a server does not take: what is known of it then, and what goes on."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest
from published_weights import BASE, World
from sampled_replies import (
    Collected,
    DiskCourier,
    Store,
    collect,
    engine_of,
    request,
    until,
    weights,
)
from scripted_server import ScriptedServer

from clawjax.config import DeliveryConfig
from clawjax.engine.sglang.courier import DeliveryCourier
from clawjax.engine.sglang.delivery_plan import adapter_name
from clawjax.engine.sglang.rotation import _retry_pause_s
from clawjax.errors import EngineError, StoreError
from clawjax.protocols import Standing

DELIVERY = DeliveryConfig(control_timeout_s=20.0, load_timeout_s=20.0, retry_s=0.0)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World(tmp_path_factory.mktemp("world"))


@pytest.fixture
async def two():
    async with AsyncExitStack() as stack:
        servers = [ScriptedServer(is_blind=True), ScriptedServer(is_blind=True)]
        for server in servers:
            await stack.enter_async_context(server.serving())
        yield servers


def engine_with_files(world, *servers, lora=False, **options):
    """An engine whose deliveries are the real ones, and that waits where the machine is busy."""
    for server in servers:
        server.enable_lora = lora
    return engine_of(
        *servers,
        courier=lambda: DeliveryCourier(world.directories, DELIVERY),
        **{"health_timeout_s": 20.0, "call_timeout_s": 20.0} | options,
    )


def standings(engine):
    return [server.standing for server in engine.status().servers]


async def versions_of_replies(engine):
    """Of replies to so many prompts that, whatever their ports, each server answers some."""
    asked = [request(prompt=[5, 6, 20 + i], tokens=3) for i in range(24)]
    replies = [await collect(engine, one) for one in asked]
    return {version for reply in replies for version in reply.versions}


@pytest.mark.parametrize("lora", [False, True], ids=["disk", "adapters"])
async def test_where_no_server_can_read_the_weights_the_old_ones_are_served(
    world, two, lora, caplog
):
    first, second = world.adapters if lora else world.full
    async with engine_with_files(world, *two, lora=lora) as engine:
        with pytest.raises(StoreError) as caught:
            await engine.swap(first)
        said = str(caught.value)
        assert all(server.url in said for server in two)
        assert "1 (it answered 400: Failed to" in said.replace("000001", "1"), said
        assert "readable there under the same name: put run.dir on" in said
        assert "version 0 is served meanwhile" in said

        assert await versions_of_replies(engine) == {0}
        assert all(any(r.get("stream") for r in server.requests) for server in two)
        status = engine.status()
        assert (status.version, status.is_healthy) == (0, True)
        assert standings(engine) == [Standing.OUTDATED] * 2
        assert status.trouble is not None
        assert f"{two[0].url} serves version 0 and does not take 1: it does not load" in (
            status.trouble
        )

        two[0].is_blind = two[1].is_blind = False
        await until(lambda: engine.status().version == 1, timeout_s=30.0)  # nobody asks again
        await until(lambda: engine.status().trouble is None, timeout_s=30.0)
        assert await versions_of_replies(engine) == {1}

        two[0].is_blind = two[1].is_blind = True  # and for any version
        with pytest.raises(StoreError, match="version 1 is served meanwhile"):
            await engine.swap(second)
        assert await versions_of_replies(engine) == {1}
        if lora:
            streams = [[r for r in server.requests if r.get("stream")] for server in two]
            assert {asked[-1]["lora_path"] for asked in streams} == {adapter_name(1)}
    assert "is out of rotation" not in caplog.text


async def test_what_is_refused_is_tried_again_and_told_once(world, two, caplog):
    async with engine_with_files(world, *two, health_interval_s=0.02) as engine:
        with pytest.raises(StoreError):
            await engine.swap(world.full[0])
        known = engine._pool.servers
        await until(lambda: all(one.refusal.times > 3 for one in known), timeout_s=30.0)
    assert all(len(server.updates) > 3 for server in two)
    assert caplog.text.count("and takes no others") == 2


def test_pauses_between_tries_grow_to_a_minute():
    assert [_retry_pause_s(2.0, times) for times in (1, 2, 3, 6, 5000)] == [4, 8, 16, 60, 60]


async def test_a_reply_goes_on_through_a_refusal(world, two):
    for server in two:
        server.token_delay_s = 0.02
    async with engine_with_files(world, *two) as engine:
        begun = Collected()
        running = asyncio.create_task(collect(engine, request(tokens=40), into=begun))
        await until(lambda: len(begun.token_ids) > 1)
        with pytest.raises(StoreError):
            await engine.swap(world.full[0])
        reply = await running
    assert (len(reply.token_ids), set(reply.versions)) == (40, {0})
    assert sum(bool(r.get("stream")) for server in two for r in server.requests) == 1


async def test_one_that_refuses_what_another_takes_is_out_until_it_takes_it(world, two):
    two[1].is_blind = False
    async with engine_with_files(world, *two) as engine:
        await engine.swap(world.full[0])
        assert standings(engine) == [Standing.OUT, Standing.SERVING]
        assert await versions_of_replies(engine) == {1}
        trouble = engine.status().trouble
        assert trouble is not None
        assert f"{two[0].url} is out of rotation: it does not load" in trouble
        two[0].is_blind = False
        await until(lambda: standings(engine) == [Standing.SERVING] * 2, timeout_s=30.0)
        assert await versions_of_replies(engine) == {1}


async def test_one_that_refuses_serves_again_where_those_that_did_not_are_gone(world, two):
    async with AsyncExitStack() as stack:
        seeing = await stack.enter_async_context(ScriptedServer().serving())
        async with engine_with_files(world, two[0], seeing) as engine:
            await engine.swap(world.full[0])
            assert standings(engine) == [Standing.OUT, Standing.SERVING]
            await stack.aclose()
            await until(
                lambda: standings(engine) == [Standing.OUTDATED, Standing.OUT], timeout_s=30.0
            )
            assert await versions_of_replies(engine) == {0}
            assert engine.status().version == 0
            async with seeing.serving():
                await until(
                    lambda: standings(engine) == [Standing.OUT, Standing.SERVING], timeout_s=30.0
                )
                assert await versions_of_replies(engine) == {1}


async def test_one_that_refuses_comes_back_after_a_failure_with_what_it_has(world, two):
    async with engine_with_files(world, two[0]) as engine:
        with pytest.raises(StoreError):
            await engine.swap(world.full[0])
        two[0].health = 500
        await until(lambda: standings(engine) == [Standing.OUT], timeout_s=30.0)
        two[0].health = 200
        await until(lambda: standings(engine) == [Standing.OUTDATED], timeout_s=30.0)
        assert await versions_of_replies(engine) == {0}


async def test_a_run_starts_with_what_servers_have_where_they_cannot_read_the_newest(world, two):
    async with engine_with_files(world, *two, store=Store(world.full[1])) as engine:
        assert standings(engine) == [Standing.OUTDATED] * 2
        assert await versions_of_replies(engine) == {0}
        two[1].is_blind = False
        await until(lambda: standings(engine) == [Standing.OUT, Standing.SERVING], timeout_s=30.0)
        assert await versions_of_replies(engine) == {2}


@pytest.mark.parametrize(
    "change",
    [
        {"update_fails": "Failed to update weights: a.\nRolling back to original weights."},
        {"update_fails": "Failed to get weights iterator: b. | Succeeded to update model weights."},
        {"weight_version": "7"},
    ],
    ids=["a load that was begun", "a replica that took them", "another's weights"],
)
async def test_one_whose_old_weights_are_not_shown_is_out_though_it_refuses(world, two, change):
    async with engine_with_files(world, two[0], health_interval_s=60.0) as engine:
        two[0].is_blind = "update_fails" not in change
        for name, value in change.items():
            setattr(two[0], name, value)
        with pytest.raises(StoreError, match="as soon as one can be asked"):
            await engine.swap(world.full[0])
        assert standings(engine) == [Standing.OUT]
        assert engine._pool.servers[0].version is None


async def test_what_a_load_that_was_begun_has_left_is_not_taken_for_the_base_model(world, two):
    async with engine_with_files(world, two[0]) as engine:
        two[0].update_fails = "Failed to update weights: a.\nRolling back to original weights."
        two[0].is_blind = False
        with pytest.raises(StoreError):
            await engine.swap(world.full[0])
        two[0].is_blind = True  # from now on it refuses, and is called as it was at first
        tried = len(two[0].updates)
        await until(lambda: len(two[0].updates) > tried + 2, timeout_s=30.0)
        assert two[0].weight_version == "default"
        assert standings(engine) == [Standing.OUT]
        two[0].is_blind, two[0].update_fails = False, None
        await until(lambda: standings(engine) == [Standing.SERVING], timeout_s=30.0)
        assert await versions_of_replies(engine) == {1}


@pytest.mark.parametrize("kind", ["base", "adapter"])
async def test_no_adapter_and_no_base_goes_beside_what_a_failed_load_has_left(world, two, kind):
    """It is called as it was at first, and takes adapters: nothing shows what its own are."""
    wanted = BASE if kind == "base" else world.adapters[1]
    async with engine_with_files(world, two[0], lora=True) as engine:
        two[0].update_fails = "Failed to update weights: a.\nRolling back to original weights."
        two[0].is_blind = False
        with pytest.raises(StoreError):
            await engine.swap(world.full[0])
        assert two[0].weight_version == "default"
        with pytest.raises(StoreError):
            await engine.swap(wanted)
        assert standings(engine) == [Standing.OUT]
        two[0].update_fails = None
        await until(lambda: standings(engine) == [Standing.SERVING], timeout_s=30.0)
        assert two[0].weight_version == str(wanted.version)
        assert two[0].loads == []
        assert await versions_of_replies(engine) == {wanted.version}


class Slow(ScriptedServer):
    """Loads when it may."""

    may_load = asyncio.Event()

    async def _update(self, request):
        await self.may_load.wait()
        return await super()._update(request)


async def test_one_that_takes_them_while_another_still_loads_stays(world, two, caplog):
    slow = Slow()
    async with slow.serving(), engine_with_files(world, two[0], slow) as engine:
        swapping = asyncio.create_task(engine.swap(world.full[0]))
        await until(lambda: bool(two[0].updates), timeout_s=30.0)
        two[0].is_blind = False
        await until(lambda: engine.status().version == 1, timeout_s=30.0)
        assert not swapping.done()
        slow.may_load.set()
        await swapping
        assert standings(engine) == [Standing.SERVING] * 2
    assert "is out of rotation" not in caplog.text


async def test_who_goes_back_from_what_is_refused_takes_nobody_out(world, two, caplog):
    first, second = world.full
    for server in two:
        server.is_blind = False
    async with engine_with_files(world, *two) as engine:
        await engine.swap(first)
        two[0].is_blind = two[1].is_blind = True
        with pytest.raises(StoreError):
            await engine.swap(second)
        await engine.swap(first)
        assert standings(engine) == [Standing.SERVING] * 2
        assert engine.status().trouble is None
    assert "is out of rotation" not in caplog.text


async def test_an_adapter_that_is_gone_is_not_taken_for_kept(world, two):
    two[0].is_blind = False
    async with engine_with_files(world, two[0], lora=True, health_interval_s=60.0) as engine:
        await engine.swap(world.adapters[0])
        two[0].adapters.clear()  # started anew
        two[0].is_blind = True
        with pytest.raises(StoreError, match="as soon as one can be asked"):
            await engine.swap(world.adapters[1])
        assert standings(engine) == [Standing.OUT]


async def test_a_server_that_has_no_way_to_take_weights_serves_the_base_model(world, two):
    two[0].weight_version = None
    async with engine_with_files(world, two[0]) as engine:
        with pytest.raises(StoreError, match="the server takes no new weights"):
            await engine.swap(world.full[0])
        assert await versions_of_replies(engine) == {0}


async def test_health_is_lost_with_the_last_server_and_comes_back_with_the_first():
    async with AsyncExitStack() as first, AsyncExitStack() as second:
        one = await first.enter_async_context(ScriptedServer().serving())
        two = await second.enter_async_context(ScriptedServer().serving())
        async with engine_of(one, two) as engine:
            assert (engine.status().is_healthy, engine.status().trouble) == (True, None)
            await first.aclose()
            await until(
                lambda: standings(engine) == [Standing.OUT, Standing.SERVING], timeout_s=30.0
            )
            assert engine.status().is_healthy
            await second.aclose()
            await until(lambda: not engine.status().is_healthy, timeout_s=30.0)
            status = engine.status()
            assert status.may_recover
            assert status.trouble is not None
            assert status.trouble.startswith("no engine server is in rotation: ")
            assert one.url in status.trouble
            assert "cannot be reached" in status.trouble
            async with one.serving():
                await until(lambda: engine.status().is_healthy, timeout_s=30.0)
                assert await versions_of_replies(engine) == {0}


async def test_a_server_that_is_away_for_a_moment_costs_no_health(two):
    async with engine_of(two[0], health_interval_s=60.0) as engine:
        (known,) = engine._pool.servers
        engine._pool.remove(known, "its connection broke")
        assert engine.status().is_healthy
        assert "its connection broke" in (engine.status().trouble or "")


class Failing(DiskCourier):
    async def deliver(self, client, weights, on_version, *, is_doubtful):
        raise EngineError("long " * 1000)


async def test_a_reason_is_told_in_bounds(two):
    async with engine_of(two[0], courier=Failing) as engine:
        with pytest.raises(StoreError):
            await engine.swap(weights(1))
        assert len(engine.status().trouble or "") < 700


@pytest.mark.parametrize("lora", [False, True])
async def test_a_server_without_a_pause_is_named_when_it_is_attached(world, caplog, lora):
    async with (
        ScriptedServer(can_pause=False).serving() as server,
        engine_with_files(world, server, lora=lora) as engine,
    ):
        assert standings(engine) == [Standing.SERVING]
        said = f"{server.url}/pause_generation is not there: a server without that endpoint"
        assert (said in caplog.text) != lora
        if not lora:
            with pytest.raises(StoreError, match="use SGLang 0"):
                await engine.swap(world.full[0])
            assert standings(engine) == [Standing.OUTDATED]
