"""The learner on eight virtual devices: whatever the mesh, the same losses, weights and scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from learner_records import make_sample
from programs import run_program

from clawjax.learner.batching import make_batch
from clawjax.learner.shards import even_rows

PARTS = {"8x1x1": 1, "1x8x1": 8, "2x2x2": 4}
"""Meshes, and into how many parts they divide a kernel."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "meshes"),
    [
        ("lora", ["2x2x2"]),
        ("full", ["2x2x2"]),
        pytest.param("lora", ["8x1x1", "1x8x1"], marks=pytest.mark.thorough),
    ],
)
def test_the_mesh_changes_nothing_but_where_it_is_computed(
    method: str, meshes: list[str], tmp_path: Path
) -> None:
    found = run_program("mesh_runs.py", "llama", method, str(tmp_path), *meshes)
    one = found["one"]
    assert one["devices"] == 1
    assert one["losses"][3] > 1e-3  # there is a gradient
    for mesh in meshes:
        other = found["meshes"][mesh]
        assert (other["devices"], other["part"]) == (8, PARTS[mesh])
        np.testing.assert_allclose(other["losses"], one["losses"], rtol=1e-5, atol=1e-5)
        assert other["weights"] < 1e-5
        assert other["moments"] < 1e-5
        assert other["likeliest"] == one["likeliest"]
        for ours, theirs in zip(other["logprobs"], one["logprobs"], strict=True):
            np.testing.assert_allclose(ours, theirs, atol=3e-5)
        assert other["drift"] == pytest.approx(one["drift"], rel=1e-4, abs=1e-5)


def test_rows_are_filled_up_with_padding_that_divides_by_no_zero() -> None:
    samples = [make_sample(f"t{i}", 3, 9, seed=i) for i in range(3)]
    batch = make_batch(
        samples, version=0, length_buckets=[16], micro_batch_tokens=48, is_packed=False
    )
    (micro,) = batch.micro_batches
    (even,) = even_rows(batch, 8).micro_batches
    for name, array in even._asdict().items():
        np.testing.assert_array_equal(array[:3], getattr(micro, name))
        assert len(array) == 8
        assert array.dtype == getattr(micro, name).dtype
    assert not even.segment_ids[3:].any()
    assert not even.weights[3:].any()
    assert (even.temperature[3:] == 1).all()
    assert even_rows(batch, 3) == batch
