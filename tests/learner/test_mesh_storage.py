"""What is written on one mesh is read on another, bit for bit, by the devices that hold it."""

from __future__ import annotations

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from programs import run_program

from clawjax.learner.digest import checksum


@pytest.mark.slow
def test_models_and_checkpoints_move_between_meshes(tmp_path: Path) -> None:
    found = run_program("mesh_storage.py", str(tmp_path))
    table = found.pop("table")
    for mesh, said in found.items():
        assert said["read"] == [], mesh
        assert said["published"] == [], mesh
        assert said["wrong_place"] == [], mesh
        assert said["checksum"] == found["1x1x1"]["checksum"]
        for other in found.keys() & said.keys():
            assert said[other] == [], f"written on {other}, read on {mesh}"
    assert "8x1x1" in found["2x2x2"]
    assert "2x2x2" in found["1x1x1"]
    # Each device's part is read by itself; only where all have the whole is the whole read.
    assert found["1x1x1"]["largest"] == 0
    assert found["8x1x1"]["largest"] == table
    assert found["1x8x1"]["largest"] == table / 8
    assert found["2x2x2"]["largest"] == table / 4


@pytest.mark.parametrize(
    "change", [lambda a: a[::-1], lambda a: a.at[3, 2].add(1e-6), lambda a: a.T.reshape(a.shape)]
)
def test_a_checksum_tells_what_was_changed_or_moved(change) -> None:
    array = jnp.asarray(np.random.default_rng(0).normal(size=(5, 7)), jnp.float32)
    assert checksum({"a": array}) == checksum({"a": jnp.array(array)})
    assert checksum({"a": array}) != checksum({"a": change(array)})


def test_a_checksum_knows_types_shapes_and_zeros() -> None:
    zeros = [jnp.zeros((2, 3)), jnp.zeros((3, 2)), jnp.zeros((2, 3), jnp.int32), jnp.zeros(6)]
    halves = [jnp.zeros((2, 3), jnp.bfloat16), -jnp.zeros((2, 3))]
    assert len({checksum(each) for each in zeros + halves}) == 6
