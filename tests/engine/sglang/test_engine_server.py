"""The client and this project's own engine server, each in a process: as if they were one."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from contextlib import aclosing, contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
from sampled_replies import Collected, collect, request, until

from clawjax.config import (
    EngineConfig,
    LaunchConfig,
    ModelConfig,
    RunConfig,
    RunSection,
    SglangConfig,
)
from clawjax.engine.embedded import EmbeddedEngine
from clawjax.engine.sglang.directories import ModelDirectories
from clawjax.engine.sglang.pool import affinity
from clawjax.engine.sglang.start import start_engine
from clawjax.errors import StoreError
from clawjax.models.export import params_to_tensors
from clawjax.models.load import load_model, load_tokenizer
from clawjax.models.registry import config_from_architecture
from clawjax.protocols import ScoreRequest, WeightVersion
from clawjax.records import FinishReason
from clawjax.runtime import engines
from clawjax.runtime.endpoint import build_app
from clawjax.runtime.engines import open_engine
from clawjax.runtime.loopback import serving
from clawjax.runtime.paths import RunPaths
from clawjax.testing import free_port, temporary_log
from clawjax.weights import DirectoryWeightStore

pytestmark = pytest.mark.slow

MODEL = ModelConfig(name="tiny", path="random:qwen3", context_length=256)
TOKENIZER, ARCHITECTURE, _ = load_tokenizer(MODEL)
PROMPT = TOKENIZER.encode("hello how are you")


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    return str(tmp_path_factory.mktemp("xla"))


def launching(programs: str, servers: int) -> EngineConfig:
    launch = LaunchConfig(
        servers=servers,
        command=[sys.executable, "-m", "clawjax.engine.server"],
        port=free_port(),
        options=[
            "--max-running-requests=8",
            "--kept-prefixes=0",
            "--chunked-prefill-size=32",
            "--skip-server-warmup",
            f"--compilation-cache={programs}",
        ],
        env={"PYTHONPATH": str(Path(__file__).parents[3])},
        start_timeout_s=240.0,
        max_restarts=0,
    )
    sglang = SglangConfig(launch=launch, health_interval_s=0.2, call_timeout_s=120.0)
    return EngineConfig(
        kind="sglang", slots=16, max_waiting=16, max_response_tokens=64, sglang=sglang
    )


async def start(programs: str, servers: int, logs: Path):
    return await start_engine(
        launching(programs, servers),
        MODEL,
        tokenizer=TOKENIZER,
        vocab_size=ARCHITECTURE.vocab_size,
        base_id="tiny",
        new_courier=lambda: None,
        store=None,
        api_key=None,
        logs=logs,
    )


@pytest.fixture
async def embedded(programs):
    config = EngineConfig(
        slots=8, kept_prefixes=0, prefill_chunk=32, compilation_cache=programs, warm_up=False
    )
    engine = await EmbeddedEngine.start(load_model(MODEL), config, None)
    yield engine
    await engine.aclose()


@pytest.fixture
async def two(programs, tmp_path):
    engine = await start(programs, 2, tmp_path)
    yield engine
    await engine.aclose()


def greedy(name: str, tokens: int = 40, prompt=PROMPT):
    return request(name, prompt=prompt, tokens=tokens, temperature=0.0, ignore_eos=True)


async def test_replies_and_scores_are_those_of_the_embedded_engine(two, embedded):
    for prompt in (PROMPT, PROMPT[:1], PROMPT * 12):
        ours = await collect(two, greedy("a", prompt=prompt))
        theirs = await collect(embedded, greedy("a", prompt=prompt))
        assert ours.token_ids == theirs.token_ids
        assert (ours.text, ours.finish_reason) == (theirs.text, theirs.finish_reason)
        assert ours.versions == theirs.versions == (0,) * 40
        np.testing.assert_allclose(ours.sampler_logprobs, theirs.sampler_logprobs, atol=1e-4)
        np.testing.assert_allclose(ours.sampler_logprobs_t1, theirs.sampler_logprobs_t1, atol=1e-4)
        scores = await two.score(ScoreRequest("s", prompt, ours.token_ids))
        np.testing.assert_allclose(scores, ours.sampler_logprobs_t1, atol=1e-4)
    tempered = request("t", prompt=PROMPT, tokens=30, temperature=0.7)
    ours, theirs = await collect(two, tempered), await collect(embedded, tempered)
    assert ours.token_ids == theirs.token_ids, "the seed travels"
    np.testing.assert_allclose(ours.sampler_logprobs, theirs.sampler_logprobs, atol=1e-4)
    np.testing.assert_allclose(ours.sampler_logprobs_t1, theirs.sampler_logprobs_t1, atol=1e-4)


async def test_streams_of_a_killed_server_go_on_elsewhere_and_no_chat_fails(
    two, embedded, programs, tmp_path
):
    log = temporary_log(tmp_path)
    app = build_app(
        RunConfig(model=MODEL, engine=launching(programs, 2)),
        two,
        TOKENIZER,
        log,
        on_linked=lambda: None,
    )
    prompts = [(*PROMPT, 40 + i) for i in range(4)]
    begun, on_the_way = asyncio.Event(), Collected()

    async def first() -> Collected:
        """A reply that is in the middle when its server is killed."""
        async with aclosing(two.generate(greedy("first", 150, prompts[0]))) as chunks:
            async for chunk in chunks:
                on_the_way.add(chunk)
                begun.set()
        return on_the_way

    async def chat(client: httpx.AsyncClient, number: int) -> str:
        body = {
            "model": "tiny", "stream": True, "temperature": 0, "max_tokens": 24,
            "messages": [{"role": "user", "content": f"hello {number}"}],
        }  # fmt: skip
        async with client.stream("POST", "/chat/completions", json=body) as response:
            lines = [line async for line in response.aiter_lines() if line]
        assert response.status_code == 200
        assert lines[-1] == "data: [DONE]"
        return json.loads(lines[-2].removeprefix("data: "))["choices"][0]["finish_reason"]

    async with (
        serving(app) as base_url,
        httpx.AsyncClient(base_url=base_url, timeout=300) as client,
    ):
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(first())
            rest = [
                group.create_task(collect(two, greedy(str(i), 150, prompt)))
                for i, prompt in enumerate(prompts[1:])
            ]
            chats = [group.create_task(chat(client, number)) for number in range(6)]
            await begun.wait()
            (held,) = [s for s in two._pool.servers if s is _holder(two, prompts[0])]
            (launched,) = [one for one in two._launched if one.url == held.url]
            os.kill(launched._process.pid, signal.SIGKILL)
            sampled = len(on_the_way.token_ids)
        finishes = {task.result() for task in chats}
    assert sampled < 150, "it was killed in the middle"
    assert finishes <= {"stop", "length"}
    assert log.counts().logged == 6
    log.close()
    assert [server.url for server in two._pool.serving] != [held.url]
    assert len(two._pool.serving) == 1
    replies = [reading.result(), *(task.result() for task in rest)]
    for prompt, reply in zip(prompts, replies, strict=True):
        whole = await collect(embedded, greedy("w", 150, prompt))
        assert reply.token_ids == whole.token_ids
        assert reply.text == whole.text
        assert reply.finish_reason is FinishReason.LENGTH
        np.testing.assert_allclose(reply.sampler_logprobs, whole.sampler_logprobs, atol=1e-4)


async def test_new_weights_reach_a_launched_server_under_running_replies(
    programs, embedded, tmp_path
):
    engine_config = launching(programs, 1)
    config = RunConfig(RunSection(dir=str(tmp_path)), model=MODEL, engine=engine_config)
    paths, base, other = RunPaths(tmp_path), load_model(MODEL), load_model(MODEL, seed=3)
    store = DirectoryWeightStore(paths.weights)
    engine, _ = await open_engine(config, paths, store)
    tensors = params_to_tensors(other.params, base.architecture)
    replies: list[Collected] = []
    talking = asyncio.Event()
    talking.set()

    def published(version: int) -> WeightVersion:
        return store.publish(
            tensors,
            version=version,
            parent=version - 1,
            step=version,
            base_model=base.base_id,
            kind="full",
            config=config_from_architecture(base.architecture),
        )

    def is_mixed() -> bool:
        return any(len(set(reply.versions)) == 2 for reply in replies)

    async def keep_talking(name: str, tokens: int) -> None:
        """Replies of one speaker, one after the other, until the new weights are there."""
        while talking.is_set():
            replies.append(await collect(engine, greedy(name, tokens)))

    try:
        async with asyncio.TaskGroup() as group:
            # Of different lengths, so that never all of them are between two replies.
            for number, tokens in enumerate((200, 170, 110)):
                group.create_task(keep_talking(f"r{number}", tokens))
            await until(lambda: len(replies) > 1, timeout_s=60)
            for version in range(1, 6):  # on a busy machine all may end before the first is there
                await engine.swap(published(version))
                assert engine.status().version == version
                enough = len(replies) + 3
                await until(lambda enough=enough: len(replies) >= enough, timeout_s=60)
                if is_mixed():
                    break
            talking.clear()
        after = await collect(engine, greedy("after", 20))
        scores = await engine.score(ScoreRequest("s", PROMPT, after.token_ids))
    finally:
        talking.clear()
        await engine.aclose()
    assert is_mixed()
    assert all(list(reply.versions) == sorted(reply.versions) for reply in replies)
    assert set(after.versions) == {version}
    before = await collect(embedded, greedy("w", 200))
    for reply in replies:
        old = reply.versions.count(0)
        assert reply.token_ids[:old] == before.token_ids[:old]
    np.testing.assert_allclose(scores, after.sampler_logprobs_t1, atol=1e-4)
    assert after.token_ids != before.token_ids[:20]


class Unmounted(ModelDirectories):
    """Directories that the servers do not see before they are mounted."""

    is_mounted = False

    @contextmanager
    def held(self, weights):
        with super().held(weights) as path:
            yield path if self.is_mounted else Path("/elsewhere") / path.name


async def test_weights_that_the_server_cannot_read_wait_until_it_can(
    programs, tmp_path, monkeypatch
):
    monkeypatch.setattr(engines, "ModelDirectories", Unmounted)
    engine_config = launching(programs, 1)
    engine_config.sglang.delivery.control_timeout_s = 240.0  # it compiles while others do, too
    config = RunConfig(RunSection(dir=str(tmp_path)), model=MODEL, engine=engine_config)
    paths, base, other = RunPaths(tmp_path), load_model(MODEL), load_model(MODEL, seed=3)
    store = DirectoryWeightStore(paths.weights)
    engine, _ = await open_engine(config, paths, store)
    weights = store.publish(
        params_to_tensors(other.params, base.architecture),
        version=1,
        parent=0,
        step=1,
        base_model=base.base_id,
        kind="full",
        config=config_from_architecture(base.architecture),
    )
    try:
        before = await collect(engine, greedy("before", 8))
        with pytest.raises(StoreError, match="/elsewhere/000001 is not a directory on this"):
            await engine.swap(weights)
        kept = await collect(engine, greedy("kept", 8))
        assert (kept.token_ids, kept.versions) == (before.token_ids, (0,) * 8)
        assert engine.status().is_healthy
        assert "serves version 0 and does not take 1" in (engine.status().trouble or "")
        monkeypatch.setattr(Unmounted, "is_mounted", True)
        await until(lambda: engine.status().version == 1, timeout_s=120)
        after = await collect(engine, greedy("after", 8))
        assert set(after.versions) == {1}
        assert after.token_ids != before.token_ids
        assert engine.status().trouble is None
    finally:
        await engine.aclose()


def _holder(engine, prompt):
    """Where the reply to a prompt began."""
    return engine._pool._preferred(affinity(greedy("x", 1, prompt)), list(engine._pool.servers))
