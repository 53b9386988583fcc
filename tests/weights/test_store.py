"""The weight store: complete or absent, verifiable, recoverable."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

from clawjax.errors import StoreError
from clawjax.files import write_synced
from clawjax.protocols import WeightStore, WeightVersion
from clawjax.weights import DirectoryWeightStore


def tensors(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "layers.0.lora_A.weight": rng.normal(size=(2, 8)).astype(np.float32),
        # A transposed view: safetensors would write its memory in the wrong order.
        "layers.0.lora_B.weight": rng.normal(size=(2, 8)).astype(np.float32).T,
    }


def publish(
    store: DirectoryWeightStore, version: int, *, seed: int | None = None, **config: object
) -> WeightVersion:
    return store.publish(
        tensors(version if seed is None else seed),
        version=version,
        parent=version - 1,
        step=version,
        base_model="tiny",
        kind="adapter",
        config={"r": 2, "peft_type": "LORA", **config},
    )


def flip_last_byte(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def test_is_a_weight_store(tmp_path: Path) -> None:
    assert isinstance(DirectoryWeightStore(tmp_path), WeightStore)


def test_nothing_published_is_the_base_model(tmp_path: Path) -> None:
    assert DirectoryWeightStore(tmp_path / "weights").latest() is None


def test_what_is_published_is_what_is_loaded(tmp_path: Path) -> None:
    store = DirectoryWeightStore(tmp_path / "weights")
    published = publish(store, 42)
    found, loaded = DirectoryWeightStore(tmp_path / "weights").load(42)
    assert found == published == store.latest()
    assert found.path.name == "000042"
    assert (found.parent, found.step, found.base_model) == (41, 42, "tiny")
    assert loaded.keys() == tensors().keys()
    for name, tensor in tensors(42).items():
        np.testing.assert_array_equal(loaded[name], tensor)


def test_a_version_is_laid_out_for_peft(tmp_path: Path) -> None:
    path = publish(DirectoryWeightStore(tmp_path), 1).path
    assert json.loads((path / "adapter_config.json").read_text())["peft_type"] == "LORA"
    assert load_file(path / "adapter_model.safetensors").keys() == tensors().keys()
    manifest = json.loads((path / "manifest.json").read_text())
    assert manifest["files"].keys() == {"adapter_model.safetensors", "adapter_config.json"}


@pytest.mark.parametrize(
    "change",
    [
        {"version": "1"},
        {"version": 1.0},
        {"version": 2},
        {"step": None},
        {"base_model": 3},
        {"kind": ["full"]},
        {"kind": "quantised"},
        {"files": {}},
        {"files": {"../weights": {"sha256": "", "bytes": 0}}},
        {"files": {"adapter_config.json": {"sha256": "", "bytes": "many"}}},
    ],
    ids=str,
)
def test_an_altered_manifest_is_refused_by_name(tmp_path: Path, change: dict[str, object]) -> None:
    store = DirectoryWeightStore(tmp_path)
    path = publish(store, 1).path
    file = path / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(StoreError, match="000001"):
        store.load(1)
    store.latest()  # whatever it says, it does not fall over


def test_a_damaged_version_is_passed_over_with_one_word(tmp_path: Path, caplog) -> None:
    store = DirectoryWeightStore(tmp_path)
    first = publish(store, 1)
    file = publish(store, 2).path / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-10])
    assert [store.latest() for _ in range(3)] == [first] * 3
    assert caplog.text.count("a version is passed over") == 1
    assert "000002/adapter_model.safetensors has" in caplog.text


def test_publishing_twice_changes_nothing(tmp_path: Path) -> None:
    times = iter((1.0, 2.0))
    store = DirectoryWeightStore(tmp_path, clock=lambda: next(times))
    first = publish(store, 1)
    before = (first.path / "manifest.json").read_bytes()
    assert publish(store, 1) == first
    assert (first.path / "manifest.json").read_bytes() == before


def test_a_version_never_changes(tmp_path: Path) -> None:
    store = DirectoryWeightStore(tmp_path)
    publish(store, 1)
    with pytest.raises(StoreError, match="already holds other weights"):
        publish(store, 1, seed=99)


def test_what_would_be_described_differently_now_is_the_same_version(tmp_path: Path) -> None:
    store = DirectoryWeightStore(tmp_path)
    first = publish(store, 1, target_modules=["v_proj", "q_proj"])
    assert (
        publish(store, 1, target_modules=["q_proj", "v_proj"], made_by="a later release") == first
    )
    described = json.loads((first.path / "adapter_config.json").read_text())
    assert described["target_modules"] == ["v_proj", "q_proj"]
    store.load(1)


def test_republishing_repairs_a_damaged_version(tmp_path: Path) -> None:
    store = DirectoryWeightStore(tmp_path)
    path = publish(store, 1).path
    flip_last_byte(path / "adapter_model.safetensors")
    publish(store, 1)
    store.load(1)
    assert {entry.name for entry in tmp_path.iterdir()} == {".lock", ".writer", "000001", "LATEST"}


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "adapter_config.json"])
def test_a_flipped_bit_is_refused_by_name(tmp_path: Path, name: str) -> None:
    store = DirectoryWeightStore(tmp_path)
    file = publish(store, 1).path / name
    flip_last_byte(file)
    with pytest.raises(StoreError, match=rf"{name} does not match its checksum: remove"):
        store.load(1)


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda path: (path / "manifest.json").unlink(), "manifest.json is missing"),
        (lambda path: (path / "manifest.json").write_text("{"), "is not a manifest"),
        (lambda path: (path / "manifest.json").write_text("[1]"), "is not a manifest"),
        (lambda path: (path / "adapter_config.json").unlink(), "adapter_config.json is missing"),
        (lambda path: (path / "adapter_config.json").write_text(""), "has 0 bytes, expected"),
        (lambda path: shutil.rmtree(path), "does not exist"),
    ],
)
def test_damage_is_refused_and_the_version_before_it_found(
    tmp_path: Path, damage: Callable[[Path], None], complaint: str
) -> None:
    store = DirectoryWeightStore(tmp_path)
    publish(store, 1)
    path = publish(store, 2).path
    damage(path)
    with pytest.raises(StoreError, match=complaint):
        store.load(2)
    latest = store.latest()
    assert latest is not None
    assert latest.version == 1


def test_a_directory_under_another_number_is_refused(tmp_path: Path) -> None:
    store = DirectoryWeightStore(tmp_path)
    publish(store, 1).path.rename(tmp_path / "000007")
    with pytest.raises(StoreError, match="says it is version 1"):
        store.load(7)


@pytest.mark.parametrize("content", [b"", b"garbage", b"\xff\xfe", b"000009\n", b"-1"])
def test_a_damaged_latest_is_looked_up_instead(tmp_path: Path, content: bytes) -> None:
    store = DirectoryWeightStore(tmp_path)
    publish(store, 1)
    publish(store, 2)
    (tmp_path / "LATEST").write_bytes(content)
    latest = store.latest()
    assert latest is not None
    assert latest.version == 2
    publish(store, 3)
    assert (tmp_path / "LATEST").read_text() == "000003\n"


def test_latest_never_moves_back(tmp_path: Path) -> None:
    store = DirectoryWeightStore(tmp_path)
    publish(store, 1)
    publish(store, 2)
    publish(store, 1)
    latest = store.latest()
    assert latest is not None
    assert latest.version == 2


def test_only_the_writer_removes_what_a_crash_left(tmp_path: Path) -> None:
    leftover = tmp_path / ".aside-000001-123"
    leftover.mkdir()
    (leftover / "adapter_model.safetensors").write_bytes(b"half")
    store = DirectoryWeightStore(tmp_path)
    assert store.latest() is None
    assert leftover.exists()
    publish(store, 1)
    assert not leftover.exists()


def test_nor_does_another_writer_remove_what_is_being_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(DirectoryWeightStore(tmp_path), 1)
    late: list[Future[WeightVersion]] = []

    def write(file: Path, content: bytes) -> None:
        if file.parent.name.startswith(".aside-000002") and not late:
            late.append(beside.submit(publish, DirectoryWeightStore(tmp_path), 3))
            time.sleep(0.2)
            assert not late[0].done()
        write_synced(file, content)

    monkeypatch.setattr("clawjax.weights.store.write_synced", write)
    with ThreadPoolExecutor(1) as beside:
        publish(DirectoryWeightStore(tmp_path), 2)
    assert late[0].result().refused is None
    assert [found.version for found in DirectoryWeightStore(tmp_path).versions()] == [1, 2, 3]
    assert not list(tmp_path.glob(".aside-*"))


def test_an_unusable_path_is_named_with_the_fix(tmp_path: Path) -> None:
    (tmp_path / "weights").write_text("a file")
    store = DirectoryWeightStore(tmp_path / "weights")
    with pytest.raises(StoreError, match=r"weight store at .*weights: .*choose another run.dir"):
        publish(store, 1)


def test_unknown_kinds_and_version_zero_are_refused(tmp_path: Path) -> None:
    store = DirectoryWeightStore(tmp_path)
    with pytest.raises(StoreError, match="start at 1"):
        publish(store, 0)
    with pytest.raises(StoreError, match="use adapter or full"):
        store.publish({}, version=1, parent=0, step=1, base_model="tiny", kind="delta", config={})


@settings(max_examples=20, deadline=None)
@given(
    position=st.integers(min_value=0, max_value=10_000),
    bit=st.integers(min_value=0, max_value=7),
)
def test_no_flipped_bit_goes_unnoticed(
    tmp_path_factory: pytest.TempPathFactory, position: int, bit: int
) -> None:
    store = DirectoryWeightStore(tmp_path_factory.mktemp("weights"))
    file = publish(store, 1).path / "adapter_model.safetensors"
    content = bytearray(file.read_bytes())
    content[position % len(content)] ^= 1 << bit
    file.write_bytes(content)
    with pytest.raises(StoreError):
        store.load(1)
