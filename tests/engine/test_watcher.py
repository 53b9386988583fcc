from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import numpy as np
import pytest

from clawjax.engine.watcher import follow_weights
from clawjax.errors import EngineError, StoreError
from clawjax.protocols import EngineStatus, GenerateRequest, TokenChunk, WeightVersion
from clawjax.weights import DirectoryWeightStore


class Adopter:
    """An engine that only adopts, and refuses what it is told to."""

    def __init__(self, store: DirectoryWeightStore) -> None:
        self.version = 0
        self.tries: list[int] = []
        self.error: Exception | None = None
        self._store = store

    async def swap(self, weights: WeightVersion) -> None:
        self.tries.append(weights.version)
        if self.error is not None:
            raise self.error
        self._store.load(weights.version)
        self.version = weights.version

    def status(self) -> EngineStatus:
        return EngineStatus(self.version, 0, 0, 1, 64, 0, 0.0)

    def generate(self, request: GenerateRequest) -> AsyncIterator[TokenChunk]:
        raise NotImplementedError

    async def aclose(self) -> None: ...


@pytest.fixture
def store(tmp_path: Path) -> DirectoryWeightStore:
    return DirectoryWeightStore(tmp_path)


def publish(store: DirectoryWeightStore, version: int, refused: str | None = None) -> WeightVersion:
    tensors = {"x": np.full(64, version, np.float32)}
    return store.publish(
        tensors, version=version, parent=None, step=version, base_model="m", kind="adapter",
        config={"r": 1}, refused=refused,
    )  # fmt: skip


def damage(weights: WeightVersion) -> bytes:
    """Flip a bit without changing the size; returns the whole contents for repair."""
    path = weights.path / "adapter_model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    return content


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - the state is another thread's
            await asyncio.sleep(0.005)


async def test_what_is_published_is_adopted_once(store: DirectoryWeightStore) -> None:
    engine, seen = Adopter(store), []
    follower = asyncio.create_task(
        follow_weights(engine, store, poll_s=0.01, on_swap=lambda w: seen.append(w.version))
    )
    await asyncio.sleep(0.05)
    assert engine.tries == []
    publish(store, 1)
    await until(lambda: seen == [1])
    publish(store, 2)
    publish(store, 3)
    await until(lambda: engine.version == 3)
    await asyncio.sleep(0.05)
    assert engine.tries.count(3) == 1
    follower.cancel()
    with pytest.raises(asyncio.CancelledError):
        await follower


async def test_going_back_is_adopted_like_going_on(store: DirectoryWeightStore) -> None:
    engine = Adopter(store)
    publish(store, 1)
    publish(store, 2)
    follower = asyncio.create_task(follow_weights(engine, store, poll_s=0.01))
    await until(lambda: engine.version == 2)
    for version in (1, 0, 2):
        store.point_to(version)
        await until(lambda wanted=version: engine.version == wanted)
    follower.cancel()


async def test_a_refused_version_is_not_adopted(store: DirectoryWeightStore) -> None:
    engine = Adopter(store)
    publish(store, 1)
    publish(store, 2, refused="too far")
    follower = asyncio.create_task(follow_weights(engine, store, poll_s=0.01))
    await until(lambda: engine.version == 1)
    await asyncio.sleep(0.05)
    assert engine.tries == [1]
    follower.cancel()


async def test_a_damaged_version_is_tried_and_logged_once_then_the_next_is_taken(
    store: DirectoryWeightStore, caplog: pytest.LogCaptureFixture
) -> None:
    engine = Adopter(store)
    damage(publish(store, 1))
    with caplog.at_level(logging.WARNING):
        follower = asyncio.create_task(follow_weights(engine, store, poll_s=0.01))
        await until(lambda: engine.tries == [1])
        await asyncio.sleep(0.1)
        assert engine.tries == [1]
        assert engine.version == 0
        assert len(caplog.records) == 1
        publish(store, 2)
        await until(lambda: engine.version == 2)
    follower.cancel()


async def test_a_version_that_failed_is_tried_again_when_its_manifest_changes(
    store: DirectoryWeightStore,
) -> None:
    engine = Adopter(store)
    weights = publish(store, 1)
    content = damage(weights)
    follower = asyncio.create_task(follow_weights(engine, store, poll_s=0.01))
    await until(lambda: engine.tries == [1])
    (weights.path / "adapter_model.safetensors").write_bytes(content)
    manifest = weights.path / "manifest.json"
    manifest.write_text(manifest.read_text() + "\n")
    await until(lambda: engine.version == 1)
    follower.cancel()


async def test_a_version_that_a_disk_failed_is_tried_again_and_complained_of_once(
    store: DirectoryWeightStore, caplog: pytest.LogCaptureFixture
) -> None:
    engine = Adopter(store)
    engine.error = StoreError("too many open files")
    publish(store, 1)
    follower = asyncio.create_task(follow_weights(engine, store, poll_s=0.01, retry_s=0.05))
    await until(lambda: len(engine.tries) == 3)
    assert caplog.text.count("too many open files") == 1
    engine.error = None
    await until(lambda: engine.version == 1)
    engine.error = StoreError("too many open files")
    publish(store, 2)
    await until(lambda: caplog.text.count("too many open files") == 2)
    follower.cancel()


async def test_an_unreadable_store_is_survived(
    store: DirectoryWeightStore, caplog: pytest.LogCaptureFixture
) -> None:
    class Flaky(DirectoryWeightStore):
        fails = True

        def latest(self) -> WeightVersion | None:
            if self.fails:
                raise StoreError("the disk is away")
            return super().latest()

    flaky, engine = Flaky(store.root), Adopter(store)
    publish(store, 1)
    follower = asyncio.create_task(follow_weights(engine, flaky, poll_s=0.01))
    await until(lambda: "the disk is away" in caplog.text)
    flaky.fails = False
    await until(lambda: engine.version == 1)
    assert caplog.text.count("the disk is away") == 1
    follower.cancel()


async def test_a_dead_engine_ends_it(store: DirectoryWeightStore) -> None:
    engine = Adopter(store)
    engine.error = EngineError("stopped")
    publish(store, 1)
    with pytest.raises(EngineError, match="stopped"):
        await asyncio.wait_for(follow_weights(engine, store, poll_s=0.01), 10)
