"""Versions as directories that a server loads: complete, verified, few."""

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from clawjax.config import LoraConfig, ModelConfig
from clawjax.engine.sglang.directories import ModelDirectories
from clawjax.errors import StoreError
from clawjax.models.load import load_tokenizer, open_source
from clawjax.models.lora import peft_config
from clawjax.models.registry import config_from_architecture
from clawjax.protocols import BASE_KIND, WeightVersion
from clawjax.weights import DirectoryWeightStore

LORA = LoraConfig(rank=2, alpha=5.0, targets=["q_proj"])
RANDOM = ModelConfig(path="random:llama", context_length=128)
SOURCE = open_source(RANDOM)
TENSORS = SOURCE.tensors()
BASE = WeightVersion(0, Path("nowhere"), None, 0, "", BASE_KIND)
ADAPTED = [f"model.layers.{layer}.self_attn.q_proj" for layer in (0, 1)]


def adapter_of(version: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(version)
    shapes = {"lora_A": (2, 64), "lora_B": (64, 2)}
    return {
        f"base_model.model.{module}.{side}.weight": rng.normal(size=shape).astype(np.float32)
        for module in ADAPTED
        for side, shape in shapes.items()
    }


def merged_with(version: int) -> dict[str, np.ndarray]:
    adapter, merged = adapter_of(version), dict(TENSORS)
    for module in ADAPTED:
        a, b = (adapter[f"base_model.model.{module}.lora_{side}.weight"] for side in "AB")
        merged[f"{module}.weight"] = merged[f"{module}.weight"] + b @ a * 2.5
    return merged


def full_of(version: int) -> dict[str, np.ndarray]:
    return {name: tensor + np.float32(0.01 * version) for name, tensor in TENSORS.items()}


def publish_adapter(
    store: DirectoryWeightStore, version: int, *, base_model: str = SOURCE.base_id()
) -> WeightVersion:
    return store.publish(
        adapter_of(version),
        version=version,
        parent=version - 1,
        step=version,
        base_model=base_model,
        kind="adapter",
        config=peft_config(LORA, base_model),
    )


def publish_full(store: DirectoryWeightStore, version: int) -> WeightVersion:
    return store.publish(
        full_of(version),
        version=version,
        parent=version - 1,
        step=version,
        base_model=SOURCE.base_id(),
        kind="full",
        config=config_from_architecture(SOURCE.architecture()),
    )


def assert_holds(path: Path, expected: dict[str, np.ndarray]) -> None:
    """A directory that the project's own loader reads, with exactly these tensors."""
    config = ModelConfig(path=str(path), context_length=128)
    tokenizer, architecture, _ = load_tokenizer(config)
    assert tokenizer.encode("hello") == SOURCE.tokenizer().encode("hello")
    assert architecture == SOURCE.architecture()
    found = open_source(config).tensors()
    assert sorted(found) == sorted(expected)
    for name, tensor in expected.items():
        np.testing.assert_allclose(found[name], tensor, atol=1e-6)


@pytest.fixture
def store(tmp_path):
    return DirectoryWeightStore(tmp_path / "weights")


@pytest.fixture
def directories(tmp_path):
    return ModelDirectories(tmp_path / "delivered", SOURCE)


def made(directories: ModelDirectories) -> list[str]:
    return sorted(path.name for path in directories.root.iterdir())


def test_an_adapter_becomes_a_whole_model(store, directories):
    with directories.held(publish_adapter(store, 1)) as path:
        assert_holds(path, merged_with(1))


def test_full_weights_are_the_stores_own_file(store, directories):
    weights = publish_full(store, 1)
    with directories.held(weights) as path:
        assert (path / "model.safetensors").samefile(weights.path / "model.safetensors")
        assert_holds(path, full_of(1))


def test_version_0_is_the_base_model(directories):
    with directories.held(BASE) as path:
        assert_holds(path, dict(TENSORS))


def test_a_base_of_files_is_used_where_it_lies(tmp_path, store, directories):
    with directories.held(BASE) as base:
        source = open_source(ModelConfig(path=str(base)))
    of_files = ModelDirectories(tmp_path / "other", source)
    with of_files.held(BASE) as path:
        assert path == base
    weights = publish_adapter(store, 1, base_model=source.base_id())
    with of_files.held(weights) as path:
        assert (path / "tokenizer.json").samefile(base / "tokenizer.json")
        assert_holds(path, merged_with(1))


def test_only_weights_of_the_version_are_in_its_directory(store, directories):
    """A server loads every safetensors file that it finds."""
    for weights in (publish_adapter(store, 1), publish_full(store, 2)):
        with directories.held(weights) as path:
            assert [file.name for file in path.glob("*.safetensors")] == ["model.safetensors"]
            assert len(load_file(path / "model.safetensors")) == len(TENSORS)


def test_a_version_is_made_once_however_many_ask(store, directories):
    weights = publish_adapter(store, 1)

    def inode(_: int) -> int:
        with directories.held(weights) as path:
            return (path / "model.safetensors").stat().st_ino

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(inode, range(8)))) == 1


def test_few_are_kept_and_none_that_is_held(store, directories):
    first, *others = [publish_adapter(store, version) for version in range(1, 5)]
    with directories.held(first):
        for weights in others:
            with directories.held(weights):
                pass
        assert made(directories) == ["000001", "000003", "000004", "base"]
    with directories.held(others[-1]):
        assert made(directories) == ["000003", "000004", "base"]
    with directories.held(first) as path:  # rolled back to
        assert_holds(path, merged_with(1))


def test_another_run_with_the_same_numbers_is_not_taken_for_this_one(tmp_path, store, directories):
    with directories.held(publish_adapter(store, 1)):
        pass
    other = publish_full(DirectoryWeightStore(tmp_path / "other"), 1)
    with directories.held(other) as path:
        assert_holds(path, full_of(1))


def test_damaged_and_foreign_weights_are_refused_and_leave_nothing(store, directories):
    weights = publish_adapter(store, 1)
    foreign = dataclasses.replace(weights, base_model="llama@other")
    with (
        pytest.raises(StoreError, match="were trained from 'llama@other'"),
        directories.held(foreign),
    ):
        pass
    file = weights.path / "adapter_model.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(StoreError, match="does not match its checksum"), directories.held(weights):
        pass
    assert not directories.root.exists()


def test_what_a_process_that_died_left_is_removed(store, directories):
    (directories.root / ".aside-000009-77").mkdir(parents=True)
    with directories.held(publish_adapter(store, 1)):
        assert made(directories) == ["000001", "base"]


def test_a_disk_that_refuses_is_a_store_error(tmp_path):
    (tmp_path / "file").write_text("not a directory")
    directories = ModelDirectories(tmp_path / "file" / "delivered", SOURCE)
    with pytest.raises(StoreError, match="make the path readable"), directories.held(BASE):
        pass
