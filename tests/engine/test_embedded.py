from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from engine_driver import LogitsOf, Reply, assert_consistent, prompt, request

from clawjax.config import EngineConfig, ModelConfig
from clawjax.engine.embedded import EmbeddedEngine
from clawjax.errors import EngineError, StoreError, WireError
from clawjax.models.export import params_to_tensors
from clawjax.models.load import LoadedModel, load_model
from clawjax.models.transformer import Params
from clawjax.protocols import Engine, GenerateRequest, WeightStore, WeightVersion
from clawjax.records import FinishReason, Message, SamplingParams
from clawjax.weights import DirectoryWeightStore


@asynccontextmanager
async def running(
    model: LoadedModel, config: EngineConfig, store: WeightStore | None = None
) -> AsyncIterator[EmbeddedEngine]:
    engine = await EmbeddedEngine.start(model, config, store)
    try:
        yield engine
    finally:
        await engine.aclose()


async def collect(engine: EmbeddedEngine, asked: GenerateRequest) -> Reply:
    return Reply([chunk async for chunk in engine.generate(asked)])


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - the state is another thread's
            await asyncio.sleep(0.002)


def publish(
    store: DirectoryWeightStore, model: LoadedModel, params: Params, version: int = 1
) -> WeightVersion:
    return store.publish(
        params_to_tensors(params, model.architecture),
        version=version,
        parent=None,
        step=version,
        base_model=model.base_id,
        kind="full",
        config={},
    )


async def test_concurrent_requests_get_their_own_replies(
    model: LoadedModel, config: EngineConfig, logits_of: LogitsOf
) -> None:
    asked = [
        request(prompt(5 + 11 * i, seed=i), 8 + i, seed=i, temperature=(i % 2) * 0.8)
        for i in range(7)
    ]
    async with running(model, config) as engine:
        assert isinstance(engine, Engine)
        replies = await asyncio.gather(*(collect(engine, one) for one in asked))
        status = engine.status()
    assert_consistent(logits_of, model.params, dict(zip(asked, replies, strict=True)))
    for one, reply in zip(asked, replies, strict=True):
        assert len(reply.ids) == one.sampling.max_response_tokens
        assert reply.text == model.tokenizer.decode(reply.ids)
        reasons = [chunk.finish_reason for chunk in reply.chunks]
        assert reasons == [None] * (len(reasons) - 1) + [FinishReason.LENGTH]
    assert status.is_healthy
    assert (status.running, status.waiting) == (0, 0)
    assert status.generated_tokens == sum(len(reply.ids) for reply in replies)
    assert status.tokens_per_s > 0


async def test_the_reply_ends_with_the_context(model: LoadedModel, config: EngineConfig) -> None:
    async with running(model, config) as engine:
        reply = await collect(engine, request(prompt(120), 500))
        assert len(reply.ids) == 8
        assert reply.finish_reason is FinishReason.LENGTH
        with pytest.raises(WireError, match="maximum context length is 128"):
            await collect(engine, request(prompt(128), 5))
        assert engine.status().is_healthy


async def test_closing_the_iterator_frees_the_slot(
    model: LoadedModel, config: EngineConfig
) -> None:
    async with running(model, config) as engine:
        async with aclosing(engine.generate(request(prompt(4), 100))) as chunks:
            await anext(chunks)
            await until(lambda: engine.status().running == 1)
        await until(lambda: engine.status().running == 0)
        task = asyncio.create_task(collect(engine, request(prompt(4), 120)))
        await until(lambda: engine.status().running == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: engine.status().running == 0)
        assert engine.status().waiting == 0


async def test_too_many_requests_are_refused_with_503(
    model: LoadedModel, config: EngineConfig
) -> None:
    async with running(model, config) as engine:
        await engine.check(request(prompt(4), 1), replies=7)
        with pytest.raises(WireError, match="overloaded"):
            await engine.check(request(prompt(4), 1), replies=8)
        open_ones = [engine.generate(request(prompt(4), 120, seed=i)) for i in range(7)]
        firsts = [asyncio.create_task(anext(one)) for one in open_ones]
        await asyncio.sleep(0)
        with pytest.raises(WireError, match="overloaded") as caught:
            await collect(engine, request(prompt(4), 1))
        with pytest.raises(WireError, match="overloaded"):
            await engine.check(request(prompt(4), 1))
        assert (caught.value.status, caught.value.code, caught.value.kind) == (
            503,
            "engine_overloaded",
            "server_error",
        )
        await asyncio.gather(*firsts)
        for one in open_ones:
            await one.aclose()
        assert len((await collect(engine, request(prompt(4), 1))).ids) == 1


async def test_swapping_in_the_middle_of_a_reply(
    model: LoadedModel, other_params: Params, config: EngineConfig, tmp_path: Path
) -> None:
    store = DirectoryWeightStore(tmp_path)
    async with running(model, config, store) as engine:
        reply = Reply()
        swap: asyncio.Task[None] | None = None
        async for chunk in engine.generate(request(prompt(4), 120, temperature=1.0)):
            reply.chunks.append(chunk)
            if swap is None:
                swap = asyncio.create_task(engine.swap(publish(store, model, other_params)))
            elif not swap.done():
                await asyncio.sleep(0.001)
        assert swap is not None
        await swap
        assert engine.status().version == 1
        after = await collect(engine, request(prompt(4), 2))
    assert set(reply.versions) <= {0, 1}
    assert reply.versions == sorted(reply.versions)
    assert after.versions == [1, 1]


async def test_going_back_to_the_base_in_the_middle_of_a_reply(
    model: LoadedModel, other_params: Params, config: EngineConfig, logits_of: LogitsOf,
    tmp_path: Path,
) -> None:  # fmt: skip
    store = DirectoryWeightStore(tmp_path)
    publish(store, model, other_params, 1)
    async with running(model, config, store) as engine:
        assert engine.status().version == 1
        reply = Reply()
        async for chunk in engine.generate(request(prompt(4), 120, temperature=1.0)):
            reply.chunks.append(chunk)
            if len(reply.chunks) == 1:
                await engine.swap(store.point_to(0))
        asked = request(prompt(4), 5)
        after = await collect(engine, asked)
        assert engine.status().version == 0
    assert len(reply.ids) == 120
    assert set(reply.versions) <= {0, 1}
    assert reply.versions == sorted(reply.versions, reverse=True)
    assert after.versions == [0] * 5
    assert_consistent(logits_of, model.params, {asked: after})


async def test_refused_weights_leave_the_old_ones_in_use(
    model: LoadedModel, other_params: Params, config: EngineConfig, tmp_path: Path
) -> None:
    store = DirectoryWeightStore(tmp_path)
    async with running(model, config, store) as engine:
        good = publish(store, model, other_params, 1)
        await engine.swap(good)
        bad = publish(store, replace(model, base_id="another"), other_params, 2)
        with pytest.raises(StoreError, match="another"):
            await engine.swap(bad)
        with pytest.raises(StoreError):
            await engine.swap(replace(good, version=9))
        assert engine.status().version == 1
        assert (await collect(engine, request(prompt(4), 3))).versions == [1] * 3


async def test_replaced_weights_are_freed(
    model: LoadedModel, other_params: Params, config: EngineConfig, tmp_path: Path
) -> None:
    def live_bytes() -> int:
        return sum(array.nbytes for array in jax.live_arrays())

    store = DirectoryWeightStore(tmp_path)
    async with running(model, config, store) as engine:
        await engine.swap(publish(store, model, other_params, 1))
        await collect(engine, request(prompt(4), 2))
        before = live_bytes()
        for version in range(2, 5):
            await engine.swap(publish(store, model, other_params, version))
        await collect(engine, request(prompt(4), 2))
        assert live_bytes() == before


async def test_start_adopts_the_newest_version(
    model: LoadedModel, other_params: Params, config: EngineConfig, logits_of: LogitsOf,
    tmp_path: Path,
) -> None:  # fmt: skip
    store = DirectoryWeightStore(tmp_path)
    publish(store, model, other_params, 4)
    async with running(model, config, store) as engine:
        asked = request(prompt(4), 5)
        reply = await collect(engine, asked)
    assert reply.versions == [4] * 5
    assert_consistent(logits_of, other_params, {asked: reply})


async def test_start_with_damaged_weights_serves_the_base(
    model: LoadedModel,
    other_params: Params,
    config: EngineConfig,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = DirectoryWeightStore(tmp_path)
    weights = publish(store, model, other_params, 1)
    file = weights.path / "model.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with caplog.at_level(logging.WARNING):
        async with running(model, config, store) as engine:
            assert engine.status().version == 0
    assert "serving the base model" in caplog.text


async def test_a_dead_worker_fails_running_and_later_requests(
    model: LoadedModel, config: EngineConfig
) -> None:
    engine = await EmbeddedEngine.start(model, config, None)
    chunks = engine.generate(request(prompt(4), 120))
    await anext(chunks)
    broken = request(prompt(4), 5)
    object.__setattr__(broken, "prompt_ids", ("not", "tokens"))
    engine._worker.put(_job(broken))
    with pytest.raises(EngineError, match="the engine has failed"):
        async for _ in chunks:
            pass
    assert not engine.status().is_healthy
    with pytest.raises(EngineError, match="the engine has failed"):
        await collect(engine, request(prompt(4), 1))
    with pytest.raises(EngineError, match="the engine has failed"):
        await engine._replace(1, DirectoryWeightStore(Path("unused")))
    await engine.aclose()


def _job(asked: GenerateRequest) -> object:
    from clawjax.engine.replies import Job

    return Job(asked, 1)


async def test_closing_ends_running_requests_as_cancelled(
    model: LoadedModel, config: EngineConfig
) -> None:
    engine = await EmbeddedEngine.start(model, config, None)
    tasks = [
        asyncio.create_task(collect(engine, request(prompt(4), 120, seed=i))) for i in range(5)
    ]
    await until(lambda: engine.status().generated_tokens > 3)
    await engine.aclose()
    replies = await asyncio.gather(*tasks)
    reasons = {reply.finish_reason for reply in replies}
    assert FinishReason.CANCELLED in reasons
    assert reasons <= {FinishReason.CANCELLED, FinishReason.LENGTH}
    with pytest.raises(EngineError, match="closed"):
        await collect(engine, request(prompt(4), 1))
    assert not engine.status().is_healthy


async def test_a_model_that_cannot_be_compiled_is_an_error(
    model: LoadedModel, config: EngineConfig
) -> None:
    broken = replace(model, params={"embed_tokens": {}})
    with pytest.raises(EngineError, match="did not start"):
        await EmbeddedEngine.start(broken, config, None)


@pytest.mark.slow
async def test_the_default_model_makes_sense() -> None:
    model = load_model(ModelConfig(context_length=256))
    config = EngineConfig(slots=2, live_buckets=[256])
    messages = [Message("user", "What is the capital of France?")]
    prompt_ids = model.tokenizer.encode(model.tokenizer.render(messages))
    asked = GenerateRequest("r", prompt_ids, SamplingParams(24, temperature=0.0), 0)
    async with running(model, config) as engine:
        reply = await collect(engine, asked)
    assert "Paris" in reply.text
    assert np.isfinite(reply.logprobs).all()
