"""Deliveries that fail or are cancelled anywhere: the server goes on, and no token is mistaken."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Mapping

import pytest
from fake_server import FakeServer, Fault, Token
from hypothesis import given, settings
from hypothesis import strategies as st
from published_weights import BASE, DISK, QUICK, SOURCE, World, fake, version_of

from clawjax.config import DeliveryConfig
from clawjax.engine.sglang.adapters import AdapterShelf
from clawjax.engine.sglang.delivery import Delivered, deliver
from clawjax.engine.sglang.delivery_plan import Transport
from clawjax.engine.sglang.directories import ModelDirectories
from clawjax.engine.sglang.weight_probe import WeightProbe
from clawjax.errors import ClawError, EngineError, StoreError
from clawjax.protocols import WeightVersion

CONTINUES_AT = 6  # after both infos, the pause, the load, the flush and the confirmation


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World(tmp_path_factory.mktemp("world"))


async def bring(
    world: World,
    server: FakeServer,
    weights: WeightVersion,
    *,
    config: DeliveryConfig = QUICK,
    shelf: AdapterShelf | None = None,
    probe: WeightProbe | None = None,
) -> Delivered:
    server.task = asyncio.current_task()
    return await deliver(
        server,
        weights,
        directories=world.directories,
        config=config,
        shelf=shelf or AdapterShelf(),
        probe=probe,
        on_version=server.on_version,
    )


def mistaken(tokens: list[Token]) -> list[Token]:
    return [one for one in tokens if one.stamped is not None and one.stamped != one.drawn_from]


async def test_full_weights_arrive_and_nothing_is_lost(world):
    server = fake()
    delivered = await bring(world, server, world.full[0])
    assert (server.holds, server.label, server.stamp, server.paused) == (1, "1", 1, None)
    assert (server.running, server.waiting, server.aborted) == (2, 0, 0)
    assert not mistaken(server.tokens)
    assert Token(1, 1) in server.tokens
    assert (delivered.version, delivered.transport) == (1, Transport.DISK)
    assert delivered.bytes == (world.full[0].path / "model.safetensors").stat().st_size
    assert 0 < delivered.downtime_s <= delivered.seconds
    assert not delivered.is_flushed  # two replies wait
    assert delivered.lora_path is None


@pytest.mark.parametrize("mode", ["retract", "in_place", "abort"])
async def test_each_pause_leaves_the_server_alive(world, mode):
    server = fake()
    delivered = await bring(
        world, server, world.full[0], config=dataclasses.replace(QUICK, pause=mode)
    )
    assert server.is_alive
    assert server.holds == 1
    assert server.aborted == (2 if mode == "abort" else 0)
    assert delivered.is_flushed == (mode == "abort")


async def test_an_idle_server_drops_its_cached_prefixes(world):
    assert (await bring(world, fake(requests=0), world.full[0])).is_flushed


async def test_a_server_goes_back_to_the_base_model(world):
    server = fake()
    await bring(world, server, world.full[1])
    await bring(world, server, BASE)
    assert (server.holds, server.label, server.stamp) == (0, "0", 0)


async def test_an_adapter_is_merged_for_a_server_without_lora(world):
    server = fake(version_of=lambda path: int(path.name))
    delivered = await bring(world, server, world.adapters[1])
    assert (server.holds, delivered.transport) == (2, Transport.DISK)


async def test_the_time_of_a_pause_is_that_of_loading_alone(world):
    server = fake(load_s=0.2)
    config = dataclasses.replace(QUICK, load_timeout_s=1.0)
    delivered = await bring(world, server, world.full[0], config=config)
    assert 0.2 <= delivered.downtime_s < delivered.seconds + 0.001


@settings(deadline=None, max_examples=150)
@given(
    faults=st.dictionaries(
        st.integers(0, CONTINUES_AT + 1), st.sampled_from(Fault), min_size=1, max_size=3
    ),
    mode=st.sampled_from(["auto", "in_place", "abort"]),
    requests=st.integers(0, 2),
)
def test_whatever_fails_the_server_goes_on_and_no_token_is_mistaken(world, faults, mode, requests):
    server = fake(faults=faults, requests=requests)
    config = dataclasses.replace(QUICK, pause=mode, max_pause_s=600.0)  # however busy the machine

    async def attempt() -> Delivered | BaseException:
        try:
            return await asyncio.create_task(bring(world, server, world.full[0], config=config))
        except (asyncio.CancelledError, ClawError) as error:
            return error

    outcome = asyncio.run(attempt())
    server._sample()
    assert server.is_alive
    assert server.paused is None, "three attempts cannot all fail here"
    assert not mistaken(server.tokens)
    assert server.running == (requests if not server.aborted else 0)
    assert server.aborted == 0 or mode == "abort"
    if isinstance(outcome, Delivered):
        assert (server.holds, server.stamp, outcome.version) == (1, 1, 1)
    if {Fault.CANCELLED, Fault.CANCELLED_LATE} & set(server.befallen):
        assert isinstance(outcome, asyncio.CancelledError)

    server.faults = {}
    asyncio.run(bring(world, server, world.full[1], config=config))  # the next puts it right
    assert (server.holds, server.stamp, server.paused) == (2, 2, None)


async def test_a_server_that_does_not_continue_is_reported(world):
    dead = dict.fromkeys(range(CONTINUES_AT, CONTINUES_AT + 3), Fault.REFUSED)
    server = fake(faults=dead)
    with pytest.raises(EngineError, match="may still be paused, 3 calls to continue have failed"):
        await bring(world, server, world.full[0])
    assert server.paused == "retract"


async def test_a_pause_ends_when_its_time_is_up(world):
    server = fake(load_s=5.0)
    config = dataclasses.replace(QUICK, max_pause_s=0.1, load_timeout_s=10.0)
    with pytest.raises(EngineError, match=r"paused for 0.1 s and is continued without new weights"):
        await bring(world, server, world.full[0], config=config)
    assert server.paused is None
    assert server.stamp is None


@pytest.mark.parametrize(
    ("stalls", "outcome", "befallen"),
    [
        ("_update_weights_from_disk", EngineError, []),  # the limit has passed before it is sent
        ("_get_model_info", asyncio.CancelledError, [Fault.CANCELLED_LATE]),  # and after
    ],
)
async def test_a_cancellation_goes_before_a_limit_that_passes_after_it(
    world, stalls, outcome, befallen
):
    def stall(**body: object) -> dict[str, object]:
        time.sleep(0.2)  # the whole process stands still, as on a machine that is too busy
        return getattr(FakeServer, stalls)(server, **body)

    server = fake(faults={CONTINUES_AT - 1: Fault.CANCELLED_LATE})
    setattr(server, stalls, stall)
    config = dataclasses.replace(QUICK, max_pause_s=0.1)
    with pytest.raises(outcome):
        await asyncio.create_task(bring(world, server, world.full[0], config=config))
    assert server.befallen == befallen
    assert (server.paused, server.stamp) == (None, None)


async def test_a_cancellation_goes_before_whatever_a_call_fails_with(world):
    class Closed(FakeServer):
        def _pause_generation(self, **_: object) -> dict[str, object]:
            msg = "the connections are closed"
            raise RuntimeError(msg)

    server = Closed(version_of=version_of, faults={2: Fault.CANCELLED})
    with pytest.raises(asyncio.CancelledError):
        await asyncio.create_task(bring(world, server, world.full[0]))
    assert server.calls[-1] == "/continue_generation"


@pytest.mark.parametrize(("longest_s", "lease_s"), [(None, None), (2.0, 2.0), (60.0, 5.0)])
async def test_a_server_that_can_is_told_when_to_go_on_by_itself(world, longest_s, lease_s):
    server = fake(max_pause_s=longest_s)
    await bring(world, server, world.full[0])
    assert server.lease_s == lease_s


async def test_damaged_weights_do_not_reach_the_server(world, tmp_path):
    weights = World(tmp_path).full[0]
    file = weights.path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    other = ModelDirectories(tmp_path / "other", SOURCE)
    server = fake()
    with pytest.raises(StoreError, match="does not match its checksum"):
        await deliver(
            server,
            weights,
            directories=other,
            config=QUICK,
            shelf=AdapterShelf(),
            on_version=server.on_version,
        )
    assert "/pause_generation" not in server.calls
    assert server.stamp == 0


async def test_a_server_that_says_another_version_is_not_believed(world):
    class Stubborn(FakeServer):
        def _update_weights_from_disk(self, **body: object) -> dict[str, object]:
            answer = super()._update_weights_from_disk(**body)  # type: ignore[arg-type]
            self.label = "7"
            return answer

    server = Stubborn(version_of=version_of)
    with pytest.raises(EngineError, match="says that its weights are '7' after it has loaded"):
        await bring(world, server, world.full[0])
    assert (server.paused, server.stamp) == (None, None)


async def test_a_failed_load_is_told_in_the_servers_words(world):
    class Full(FakeServer):
        def _update_weights_from_disk(self, **_: object) -> dict[str, object]:
            return {"success": False, "message": "CUDA out of memory"}

    with pytest.raises(EngineError, match="failed on the server: CUDA out of memory"):
        await bring(world, Full(), world.full[0])


class Scoring(FakeServer):
    """Has no `weight_version`, but log-probs that tell what it holds."""

    def _generate(self, **body: object) -> dict[str, object]:
        assert body["logprob_start_len"] == 1
        assert body["input_ids"] == [5, 6, 7, 8]
        entries = [[None, 6, None], [-1.0 - self.holds, 7, None], [-2.0 - self.holds, 8, None]]
        return {"meta_info": {"input_token_logprobs": entries}}


def probe(version: int) -> WeightProbe:
    return WeightProbe((5, 6), (7, 8), (-1.01 - version, -2.0 - version))


async def test_a_probe_shows_what_a_server_does_not_say(world):
    server = Scoring(label=None, version_of=version_of)
    await bring(world, server, world.full[0], config=DISK, probe=probe(1))
    assert server.stamp == 1
    assert not mistaken(server.tokens)
    assert server.calls[-1] == "/generate"


async def test_a_probe_that_is_off_is_refused(world):
    server = Scoring(label=None, version_of=version_of)
    with pytest.raises(
        EngineError, match=r"log-probs are off by 1\.0.* nats, .*tolerance is 0\.05"
    ):
        await bring(world, server, world.full[0], config=DISK, probe=probe(2))
    assert (server.paused, server.stamp) == (None, None)


@pytest.mark.parametrize(
    "entries",
    [None, [], [[None, 6], [-1.0, 9], [-2.0, 8]], [[None, 6], [None, 7], [-2.0, 8]]],
)
async def test_a_probe_without_an_answer_shows_nothing(world, entries):
    class Silent(FakeServer):
        def _generate(self, **_: object) -> dict[str, object]:
            return {"meta_info": {"input_token_logprobs": entries}}

    server = Silent(label=None, version_of=version_of)
    with pytest.raises(EngineError, match=r"log-probs of"):
        await bring(world, server, world.full[0], config=DISK, probe=probe(1))


async def test_adapters_are_loaded_beside_running_requests(world):
    server, shelf = fake(enable_lora=True), AdapterShelf()
    first = await bring(world, server, world.adapters[0], shelf=shelf)
    assert (first.transport, first.lora_path) == (Transport.ADAPTER, "clawjax-000001")
    assert (first.downtime_s, shelf.current) == (0.0, 1)
    assert first.bytes == sum(
        (world.adapters[0].path / name).stat().st_size
        for name in ("adapter_model.safetensors", "adapter_config.json")
    )
    with shelf.asked() as version:
        assert version == 1
        await bring(world, server, world.adapters[1], shelf=shelf)
        assert sorted(server.adapters) == ["clawjax-000001", "clawjax-000002"]
        assert await shelf.unload_idle(server, timeout_s=1) == ()
    assert await shelf.unload_idle(server, timeout_s=1) == (1,)
    assert sorted(server.adapters) == ["clawjax-000002"]
    base = await bring(world, server, BASE, shelf=shelf)
    assert (base.lora_path, base.bytes, server.adapters) == (None, 0, {})
    assert not {"/pause_generation", "/update_weights_from_disk"} & set(server.calls)


async def test_an_adapter_of_an_earlier_run_makes_way(world):
    server = fake(enable_lora=True, adapters={"clawjax-000001": 0})
    await bring(world, server, world.adapters[0])
    assert server.calls[-3:] == ["/load_lora_adapter", "/unload_lora_adapter", "/load_lora_adapter"]


async def test_an_adapter_that_cannot_be_unloaded_is_tried_again(world):
    server, shelf = fake(enable_lora=True), AdapterShelf()
    await bring(world, server, world.adapters[0], shelf=shelf)
    server.faults = {len(server.calls) + 3: Fault.REFUSED}
    await bring(world, server, world.adapters[1], shelf=shelf)
    assert shelf.idle() == (1,)
    assert await shelf.unload_idle(server, timeout_s=1) == (1,)


@pytest.mark.parametrize(
    "listed", [None, {}, ["other"]], ids=["no list", "an empty list", "another"]
)
async def test_an_adapter_that_is_not_listed_is_not_believed(world, listed):
    class Forgetful(FakeServer):
        def _load_lora_adapter(self, **_: object) -> Mapping[str, object]:
            return {"success": True, "loaded_adapters": listed}

    shelf = AdapterShelf()
    with pytest.raises(EngineError, match="does not list adapter 'clawjax-000001'"):
        await bring(world, Forgetful(enable_lora=True), world.adapters[0], shelf=shelf)
    assert shelf.current == 0
