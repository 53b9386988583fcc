"""Whose weights answer whom."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from clawjax.engine.server.policies import Policies
from clawjax.engine.server.shelf import WeightShelf
from clawjax.errors import StoreError, WireError
from clawjax.models.tiny import tiny_tokenizer
from clawjax.protocols import WeightVersion
from clawjax.testing import FakeEngine


class SlowEngine(FakeEngine):
    """Takes its time to swap, and may be told to refuse."""

    refuses = False
    may_end: asyncio.Event | None = None
    """Swaps wait for it."""

    async def swap(self, weights: WeightVersion) -> None:
        await asyncio.sleep(0.01)
        if self.may_end is not None:
            await self.may_end.wait()
        if self.refuses:
            msg = "the fake was told to refuse"
            raise StoreError(msg)
        await super().swap(weights)


@pytest.fixture
def engine() -> SlowEngine:
    return SlowEngine(tiny_tokenizer(), ["hello"])


@pytest.fixture
def policies(engine: SlowEngine) -> Policies:
    return Policies(engine, WeightShelf("base", "default"), allows_adapters=True)


def adapter(folder: Path, name: str) -> Path:
    path = folder / name
    path.mkdir()
    (path / "adapter_config.json").write_text(json.dumps({"r": 1, "lora_alpha": 1}))
    return path


def whole_model(folder: Path, name: str) -> Path:
    path = folder / name
    path.mkdir()
    (path / "config.json").write_text("{}")
    return path


async def test_a_request_gets_the_adapter_it_names(
    engine: SlowEngine, policies: Policies, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        await policies.load_adapter(name, adapter(tmp_path, name))
    seen: list[tuple[str | None, int, int]] = []

    async def ask(name: str | None) -> None:
        async with policies.using(name):
            before = engine.version
            await asyncio.sleep(0.003)
            seen.append((name, before, engine.version))

    async with asyncio.timeout(10):
        await asyncio.gather(*(ask(name) for name in (None, "a", "a", "b", None, "a", "b", "b")))
    versions = {None: 0, "a": 1, "b": 2}
    assert all(before == after == versions[name] for name, before, after in seen)
    assert [name for name, *_ in seen] == [None, "a", "a", "b", None, "a", "b", "b"], "in order"
    assert policies.weight_version == "default"
    assert policies.label(2) == "default", "an adapter does not change what the weights are"


async def test_a_request_that_gives_up_leaves_the_others_their_weights(
    engine: SlowEngine, policies: Policies, tmp_path: Path
) -> None:
    await policies.load_adapter("a", adapter(tmp_path, "a"))

    async def ask() -> None:
        async with policies.using("a"):
            raise AssertionError("it has given up")

    for wait_s in (0.0, 0.002, 0.005):
        task = asyncio.create_task(ask())
        await asyncio.sleep(wait_s)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(5), policies.using(None):
            assert engine.version == 0


async def test_adapters_come_and_go_by_name(policies: Policies, tmp_path: Path) -> None:
    path = adapter(tmp_path, "a")
    with pytest.raises(WireError, match="'a' is not loaded"):
        async with policies.using("a"):
            pass
    await policies.load_adapter("a", path)
    assert policies.adapters == {"a": str(path)}
    with pytest.raises(WireError, match="already loaded"):
        await policies.load_adapter("a", path)
    with pytest.raises(WireError, match="unload them first"):
        await policies.update(whole_model(tmp_path, "m"), "1")
    policies.unload_adapter("a")
    with pytest.raises(WireError, match="not loaded: none is"):
        policies.unload_adapter("a")
    with pytest.raises(StoreError, match="not a directory"):
        await policies.load_adapter("a", tmp_path / "nowhere")
    with pytest.raises(WireError, match="a whole model"):
        await policies.load_adapter("m", tmp_path / "m")


async def test_weights_are_named_by_their_client(
    engine: SlowEngine, policies: Policies, tmp_path: Path
) -> None:
    assert await policies.update(whole_model(tmp_path, "m"), "step-4") == "step-4"
    assert await policies.update(whole_model(tmp_path, "000009"), None) == "000009"
    assert policies.weight_version == policies.label(engine.version) == "000009"
    assert policies.label(1) == "step-4"
    with pytest.raises(WireError, match="adapters belong to the base"):
        await policies.load_adapter("a", adapter(tmp_path, "a"))
    engine.refuses = True
    with pytest.raises(StoreError):
        await policies.update(whole_model(tmp_path, "bad"), "10")
    assert policies.weight_version == "000009"


async def test_requests_are_answered_while_new_weights_are_read(
    engine: SlowEngine, policies: Policies, tmp_path: Path
) -> None:
    engine.may_end = asyncio.Event()
    updating = asyncio.create_task(policies.update(whole_model(tmp_path, "m"), "2"))
    async with asyncio.timeout(10):
        for _ in range(3):
            await asyncio.sleep(0.02)
            async with policies.using(None):
                assert engine.version == 0
        assert not updating.done()
        engine.may_end.set()
        assert await updating == "2"
        async with policies.using(None):
            assert engine.version == 1


async def test_weights_do_not_change_under_an_adapter_that_is_still_used(
    engine: SlowEngine, policies: Policies, tmp_path: Path
) -> None:
    await policies.load_adapter("a", adapter(tmp_path, "a"))
    model = whole_model(tmp_path, "m")
    async with policies.using("a"):
        policies.unload_adapter("a")
        with pytest.raises(WireError, match="requests under way"):
            await policies.update(model, "2")
        assert engine.version == 1
    async with asyncio.timeout(5):
        assert await policies.update(model, "2") == "2"
    assert engine.version == 2


async def test_adapters_are_off_unless_asked_for(engine: SlowEngine, tmp_path: Path) -> None:
    policies = Policies(engine, WeightShelf("base", "default"), allows_adapters=False)
    with pytest.raises(WireError, match="--enable-lora"):
        await policies.load_adapter("a", adapter(tmp_path, "a"))
