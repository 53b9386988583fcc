"""Published versions: the trained weights, under names that others read, and back."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from clawjax.config import LearnerConfig, LoraConfig, ObjectiveConfig
from clawjax.errors import LearnerError
from clawjax.learner.publish import Publisher
from clawjax.learner.step import TrainState, TrainStep
from clawjax.models.load import LoadedModel
from clawjax.weights import DirectoryWeightStore


def config(method: str) -> LearnerConfig:
    return LearnerConfig(method=method, lora=LoraConfig(rank=2))


def trained(model: LoadedModel, method: str, step: int) -> TrainState:
    """A state whose weights are all different."""
    train_step = TrainStep(
        model, objective=ObjectiveConfig(), learner=config(method), failed_dir=Path("unused")
    )
    state = train_step.init(0)
    moved = jax.tree.map(
        lambda leaf: leaf + jnp.arange(leaf.size, dtype=leaf.dtype).reshape(leaf.shape) / leaf.size,
        state.trainable,
    )
    return train_step.restart(state, moved, step=step)


@pytest.mark.parametrize(
    ("method", "kind", "name"),
    [
        ("lora", "adapter", "base_model.model.model.layers.1.mlp.up_proj.lora_B.weight"),
        ("full", "full", "model.layers.1.mlp.up_proj.weight"),
    ],
)
def test_what_is_published_comes_back(
    tiny_model: LoadedModel, tmp_path: Path, method: str, kind: str, name: str
) -> None:
    store = DirectoryWeightStore(tmp_path)
    publisher = Publisher(store, tiny_model, config(method))
    state = trained(tiny_model, method, step=3)
    version = publisher.publish(state, parent=2)
    assert version is not None
    assert (version.version, version.step, version.parent, version.kind) == (3, 3, 2, kind)
    assert version.base_model == tiny_model.base_id
    assert name in store.load(3)[1]
    if kind == "adapter":
        told = json.loads((version.path / "adapter_config.json").read_text())
        assert told["base_model_name_or_path"] == tiny_model.base_name != tiny_model.base_id
    assert publisher.served() == 3
    assert publisher.lineage().parent(3) == 2
    loaded = publisher.load(3)
    assert jax.tree.structure(loaded) == jax.tree.structure(state.trainable)
    jax.tree.map(np.testing.assert_array_equal, loaded, state.trainable)


def test_step_zero_is_the_base_and_is_not_published(
    tiny_model: LoadedModel, tmp_path: Path
) -> None:
    publisher = Publisher(DirectoryWeightStore(tmp_path), tiny_model, config("lora"))
    assert publisher.publish(trained(tiny_model, "lora", step=0), parent=0) is None
    assert publisher.served() is None
    assert publisher.load(0) is None


def test_what_is_refused_is_kept_with_the_reason(tiny_model: LoadedModel, tmp_path: Path) -> None:
    publisher = Publisher(DirectoryWeightStore(tmp_path), tiny_model, config("lora"))
    publisher.publish(trained(tiny_model, "lora", step=1), parent=0)
    made = publisher.publish(trained(tiny_model, "lora", step=2), parent=1, refused="too far")
    assert made is not None
    assert made.refused == "too far"
    assert publisher.served() == 1
    assert publisher.lineage().refused == {2: "too far"}
    assert publisher.load(2) is not None


def test_weights_of_another_base_or_kind_are_refused(
    tiny_model: LoadedModel, tmp_path: Path
) -> None:
    store = DirectoryWeightStore(tmp_path)
    state = trained(tiny_model, "lora", step=1)
    Publisher(store, tiny_model, config("lora")).publish(state, parent=0)
    other = dataclasses.replace(tiny_model, base_id="another")
    with pytest.raises(LearnerError, match="this run trains another"):
        Publisher(store, other, config("lora")).load(1)
    with pytest.raises(LearnerError, match="kind adapter, this run trains full"):
        Publisher(store, tiny_model, config("full")).load(1)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"rank": 4}, "rank=2, this run has 4"),
        ({"alpha": 8.0}, r"alpha=32\.0, this run has 8\.0"),
        ({"targets": ["q_proj"]}, r"targets=\[.*'v_proj'\], this run has \['q_proj'\]"),
    ],
)
def test_adapters_of_other_settings_are_another_policy_and_are_refused(
    tiny_model: LoadedModel, tmp_path: Path, changed: dict[str, Any], told: str
) -> None:
    store, ours = DirectoryWeightStore(tmp_path), config("lora")
    Publisher(store, tiny_model, ours).publish(trained(tiny_model, "lora", step=1), parent=0)
    lora = dataclasses.replace(ours.lora, targets=ours.lora.targets[::-1])
    same = dataclasses.replace(ours, lora=lora)
    assert Publisher(store, tiny_model, same).load(1) is not None, "in whatever order"
    other = dataclasses.replace(ours, lora=dataclasses.replace(ours.lora, **changed))
    with pytest.raises(LearnerError, match=rf"version 1 has adapters of learner\.lora\.{told}"):
        Publisher(store, tiny_model, other).load(1)
