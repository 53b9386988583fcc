"""A pause: nothing is drawn, nothing is lost or refused, and it ends."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator

import pytest
from engine_driver import LogitsOf, Reply, assert_consistent, prompt, request

from clawjax.config import EngineConfig
from clawjax.engine.embedded import EmbeddedEngine
from clawjax.engine.pausing import Lease, PauseMode
from clawjax.engine.scheduler import Weights
from clawjax.models.load import LoadedModel
from clawjax.models.transformer import Params
from clawjax.protocols import GenerateRequest
from clawjax.records import FinishReason


@pytest.fixture
async def engine(model: LoadedModel, config: EngineConfig) -> AsyncIterator[EmbeddedEngine]:
    engine = await EmbeddedEngine.start(model, config, None)
    try:
        async with asyncio.timeout(60):
            yield engine
    finally:
        await engine.aclose()


class Asker:
    """One request under way."""

    def __init__(self, engine: EmbeddedEngine, asked: GenerateRequest) -> None:
        self.asked = asked
        self.reply = Reply()
        self._task = asyncio.create_task(self._run(engine))

    async def _run(self, engine: EmbeddedEngine) -> None:
        async for chunk in engine.generate(self.asked):
            self.reply.chunks.append(chunk)

    async def has(self, tokens: int) -> None:
        while len(self.reply.ids) < tokens:  # noqa: ASYNC110 - the state is another thread's
            await asyncio.sleep(0.002)

    async def end(self) -> Reply:
        await self._task
        return self.reply


@pytest.mark.parametrize("mode", [PauseMode.IN_PLACE, PauseMode.RETRACT])
async def test_a_pause_draws_nothing_and_changes_nothing(
    engine: EmbeddedEngine, model: LoadedModel, logits_of: LogitsOf, mode: PauseMode
) -> None:
    asked = [request(prompt(9 + n, seed=n), 90, seed=n, temperature=1.0) for n in range(2)]
    undisturbed = [await Asker(engine, one).end() for one in asked]
    askers = [Asker(engine, one) for one in asked]
    for asker in askers:
        await asker.has(5)
    await engine.pause(mode, lease_s=30)
    await asyncio.sleep(0.1)
    before = [len(asker.reply.ids) for asker in askers]
    assert max(before) < 90
    late = Asker(engine, request(prompt(7), 3))
    await asyncio.sleep(0.3)
    assert [len(asker.reply.ids) for asker in askers] == before
    assert late.reply.chunks == []
    assert engine.status().running == (2 if mode is PauseMode.IN_PLACE else 0)
    assert engine.status().is_healthy
    await engine.resume()
    replies = [await asker.end() for asker in askers]
    assert [reply.ids for reply in replies] == [reply.ids for reply in undisturbed]
    assert_consistent(logits_of, model.params, dict(zip(asked, replies, strict=True)))
    assert (await late.end()).finish_reason is FinishReason.LENGTH


async def test_an_aborting_pause_ends_what_runs_and_what_waits(engine: EmbeddedEngine) -> None:
    askers = [Asker(engine, request(prompt(9), 110, seed=n, temperature=1.0)) for n in range(5)]
    await askers[0].has(3)
    await engine.pause(PauseMode.ABORT, lease_s=30)
    replies = [await asker.end() for asker in askers]
    assert {reply.finish_reason for reply in replies} == {FinishReason.CANCELLED}
    assert len(replies[0].ids) >= 3
    late = Asker(engine, request(prompt(7), 3))
    await asyncio.sleep(0.2)
    assert late.reply.chunks == []
    await engine.resume()
    assert len((await late.end()).ids) == 3


async def test_the_lease_ends_the_pause(
    engine: EmbeddedEngine, caplog: pytest.LogCaptureFixture
) -> None:
    began = time.monotonic()
    with caplog.at_level(logging.WARNING):
        await engine.pause(PauseMode.IN_PLACE, lease_s=0.4)
        reply = await Asker(engine, request(prompt(7), 3)).end()
    assert 0.4 <= time.monotonic() - began < 20
    assert len(reply.ids) == 3
    assert "nobody has ended the pause" in caplog.text


async def test_retracted_replies_are_read_again_by_new_weights(
    engine: EmbeddedEngine, model: LoadedModel, other_params: Params, logits_of: LogitsOf
) -> None:
    asked = request(prompt(9), 60, seed=1, temperature=1.0)
    asker = Asker(engine, asked)
    await asker.has(5)
    await engine.pause(PauseMode.RETRACT, lease_s=30)
    before = len(asker.reply.ids)
    await engine._order(lambda scheduler: scheduler.adopt(Weights(other_params, 4)))
    assert engine.status().version == 4
    await engine.resume()
    reply = await asker.end()
    assert reply.versions == [0] * before + [4] * (60 - before)
    longer = request((*asked.prompt_ids, *reply.ids[:before]), 60 - before)
    rest = Reply([chunk for chunk in reply.chunks if chunk.versions == (4,)])
    assert_consistent(logits_of, other_params, {longer: rest})


async def test_the_cache_is_flushed_only_where_nobody_uses_it(engine: EmbeddedEngine) -> None:
    text = prompt(60)
    await Asker(engine, request(text, 2)).end()
    again = await Asker(engine, request(text, 2)).end()
    assert again.chunks[0].cached_tokens > 0
    assert await engine.flush()
    anew = await Asker(engine, request(text, 2)).end()
    assert anew.chunks[0].cached_tokens == 0
    asker = Asker(engine, request(prompt(9), 110))
    await asker.has(2)
    await engine.pause(PauseMode.IN_PLACE, lease_s=30)
    assert not await engine.flush()
    await engine.pause(PauseMode.RETRACT, lease_s=30)
    assert await engine.flush()
    await engine.resume()
    assert len((await asker.end()).ids) == 110


async def test_closing_a_paused_engine_does_not_wait_for_the_lease(
    model: LoadedModel, config: EngineConfig
) -> None:
    engine = await EmbeddedEngine.start(model, config, None)
    await engine.pause(PauseMode.IN_PLACE, lease_s=600)
    asker = Asker(engine, request(prompt(4), 20))
    await asyncio.sleep(0.1)
    async with asyncio.timeout(10):
        await engine.aclose()
        assert (await asker.end()).finish_reason is FinishReason.CANCELLED


def test_a_later_lease_replaces_an_earlier_one() -> None:
    lease = Lease()
    assert lease.left(0.0) == 0
    lease.begin(10.0, 5.0)
    assert lease.left(11.0) == pytest.approx(4.0)
    lease.begin(11.0, 1.0)
    assert lease.left(11.5) == pytest.approx(0.5)
    assert lease.left(12.0) == 0
    lease.begin(20.0, 5.0)
    lease.end()
    assert lease.left(21.0) == 0


async def test_one_request_is_aborted_with_what_it_has(engine: EmbeddedEngine) -> None:
    askers = [Asker(engine, request(prompt(9), 110, seed=n, temperature=1.0)) for n in range(5)]
    await askers[1].has(3)
    assert engine.abort("r1") == 1
    assert engine.abort("nobody") == 0
    assert (await askers[1].end()).finish_reason is FinishReason.CANCELLED
    assert len(askers[1].reply.ids) >= 3
    await engine.pause(PauseMode.IN_PLACE, lease_s=30)
    assert engine.abort() == 4, "also who waits, also while it is paused"
    for asker in askers[2:]:
        assert (await asker.end()).finish_reason is FinishReason.CANCELLED
    await engine.resume()
    assert len((await Asker(engine, request(prompt(7), 3)).end()).ids) == 3
    assert (engine.status().running, engine.status().waiting) == (0, 0)
