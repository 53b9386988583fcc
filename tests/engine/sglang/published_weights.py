"""Published weights of a tiny model, their directories, and a server that tells which it holds."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from fake_server import FakeServer
from safetensors.numpy import load_file

from clawjax.config import DeliveryConfig, LoraConfig, ModelConfig
from clawjax.engine.sglang.directories import ModelDirectories
from clawjax.models.load import open_source
from clawjax.models.lora import peft_config
from clawjax.models.registry import config_from_architecture
from clawjax.protocols import BASE_KIND, WeightVersion
from clawjax.weights import DirectoryWeightStore

SOURCE = open_source(ModelConfig(path="random:llama"))
NORM = "model.norm.weight"
BASE = WeightVersion(0, Path("nowhere"), None, 0, "", BASE_KIND)
LORA = LoraConfig(rank=2, targets=["q_proj"])
QUICK = DeliveryConfig(control_timeout_s=0.1, load_timeout_s=0.1, max_pause_s=5.0, retry_s=0.0)
DISK = dataclasses.replace(QUICK, transport="disk")


def version_of(path: Path) -> int:
    """What a directory really holds: its last norm was marked."""
    norm = load_file(path / "model.safetensors")[NORM]
    return round(float(norm[0] - SOURCE.tensors()[NORM][0]))


class World:
    """A store with two full versions and two adapters, and their directories."""

    def __init__(self, root: Path) -> None:
        self.directories = ModelDirectories(root / "delivered", SOURCE, keep=8)
        self.full = [self._publish_full(root / "full", version) for version in (1, 2)]
        self.adapters = [self._publish_adapter(root / "lora", version) for version in (1, 2)]

    def _publish_full(self, root: Path, version: int) -> WeightVersion:
        tensors = dict(SOURCE.tensors())
        return DirectoryWeightStore(root).publish(
            tensors | {NORM: tensors[NORM] + version},
            version=version,
            parent=version - 1,
            step=version,
            base_model=SOURCE.base_id(),
            kind="full",
            config=config_from_architecture(SOURCE.architecture()),
        )

    def _publish_adapter(self, root: Path, version: int) -> WeightVersion:
        module = "base_model.model.model.layers.0.self_attn.q_proj"
        return DirectoryWeightStore(root).publish(
            {
                f"{module}.lora_A.weight": np.full((2, 64), 0.1, np.float32),
                f"{module}.lora_B.weight": np.full((64, 2), version, np.float32),
            },
            version=version,
            parent=version - 1,
            step=version,
            base_model=SOURCE.base_id(),
            kind="adapter",
            config=peft_config(LORA, SOURCE.base_id()),
        )


def fake(**changes) -> FakeServer:
    return FakeServer(**{"version_of": version_of, **changes})
