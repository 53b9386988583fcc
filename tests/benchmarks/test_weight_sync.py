"""The weight benchmark's own arithmetic."""

from pathlib import Path

import numpy as np
import pytest
from weight_sync import ADAPTER, DISK, LORA, MERGED, PLAIN, SIZES, RandomModel, Size, Way, goals

from clawjax.models.merged import read_adapter, write_merged
from clawjax.models.stream import stored_tensors
from clawjax.protocols import BASE_KIND, WeightVersion

BASE = WeightVersion(0, Path(), None, 0, "", BASE_KIND)
TINY = Size(16, 32, 1, 2, 1, 512)


def row(case, parameters=10, **values):
    return {"case": case, "parameters": parameters, "bytes": 40, **values}


def test_sizes_grow_to_the_default_models():
    shapes = [size.architecture() for size in SIZES]
    assert shapes[-1].num_layers == 30
    assert RandomModel(SIZES[0]).parameters == pytest.approx(1e6, rel=0.2)
    hidden = [shape.hidden_size for shape in shapes]
    assert hidden == sorted(hidden)


def test_versions_are_a_step_apart():
    model = RandomModel(TINY)
    first, second = model.after(1), model.after(2)
    moved = np.concatenate([(first[n] - model.tensors()[n]).ravel() for n in first])
    assert moved.std() == pytest.approx(1e-5, rel=0.1)
    assert any((first[name] != second[name]).any() for name in first)


def test_adapters_are_those_of_the_model(tmp_path):
    way = Way(RandomModel(TINY), tmp_path, "http://nowhere", "adapter", "adapter")
    model = way._model
    with way._directories.held(BASE) as base:
        published = way._store.publish(
            model.adapter(1),
            version=1,
            parent=0,
            step=1,
            base_model=model.base_id(),
            kind="adapter",
            config={"peft_type": "LORA", "r": LORA.rank, "lora_alpha": LORA.alpha},
        )
        (tmp_path / "merged").mkdir()
        file = base / "model.safetensors"
        write_merged(tmp_path / "merged", [file], read_adapter(published.path))
    assert stored_tensors(tmp_path / "merged" / file.name) == stored_tensors(file)


def test_goals_are_about_the_largest_model():
    small = [
        row(PLAIN, 1),
        row(DISK, 1, times_plain=9.0, downtime_times_load=9.0),
        row(MERGED, 1, times_plain=9.0, downtime_share=0.9),
        row(ADAPTER, 1),
    ]
    large = [
        row(PLAIN, bytes=100),
        row(DISK, times_plain=1.9, downtime_times_load=1.4),
        row(MERGED, times_plain=2.1, downtime_share=0.2),
        row(ADAPTER, bytes=10),
    ]
    met = {goal.name: (goal.value, goal.met) for goal in goals([*small, *large])}
    assert met == {
        "disk, times plain save and load": (1.9, True),
        "merged, times plain save and load": (2.1, False),
        "disk, downtime over a plain load": (1.4, True),
        "merged, share of the time stood still": (0.2, True),
        "adapter, bytes over those of the model": (0.1, True),
    }
