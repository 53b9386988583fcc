"""Checkpoints: restored bit for bit, or not at all."""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from clawjax.errors import LearnerError, StoreError
from clawjax.learner.checkpoint import Checkpoints, Progress
from clawjax.learner.credit import CreditState
from clawjax.learner.step import TrainState

IDENTITY = {"base_model": "tiny", "rank": 4, "teacher": "not averaged"}
PROGRESS = Progress(CreditState({"local": -0.25}), turns=32, tokens=999)


def state(step: int) -> TrainState:
    rng = np.random.default_rng(step)
    return TrainState(
        trainable={"a": jnp.asarray(rng.normal(size=(3, 4)), jnp.float32)},
        opt_state=({"mu": jnp.asarray(rng.normal(size=(3, 4)), jnp.float32)}, ()),
        rng=jax.random.key_data(jax.random.key(step)),
        step=jnp.asarray(step, jnp.int32),
    )


def opened(tmp_path: Path, **identity: object) -> Checkpoints:
    return Checkpoints(tmp_path / "checkpoints", keep=2, identity=IDENTITY | identity)


def saved(tmp_path: Path, *steps: int) -> None:
    checkpoints = opened(tmp_path)
    for step in steps:
        checkpoints.save(state(step), PROGRESS._replace(turns=step))
    checkpoints.close()


def damage(tmp_path: Path, step: int, part: str) -> None:
    files = [
        file
        for file in (tmp_path / "checkpoints" / str(step) / part).rglob("*")
        if file.is_file() and file.stat().st_size > 0
    ]
    for file in files:
        content = file.read_bytes()
        file.write_bytes(content[: len(content) // 2] + b"\0" + content[len(content) // 2 + 1 :])


def test_nothing_saved_is_nothing_restored(tmp_path: Path) -> None:
    assert opened(tmp_path).restore(state(0)) is None


def test_another_kind_of_teacher_is_refused_and_nothing_is_set_aside(tmp_path: Path) -> None:
    saved(tmp_path, 1)
    with pytest.raises(LearnerError, match="teacher"):
        opened(tmp_path, teacher="ema").restore(state(0)._replace(ema={"a": jnp.zeros((3, 4))}))
    assert not (tmp_path / "checkpoints.damaged").exists()
    assert opened(tmp_path).restore(state(0)) is not None


def test_what_an_earlier_checkpoint_does_not_say_of_itself_is_not_held_against_it(
    tmp_path: Path,
) -> None:
    saved(tmp_path, 1)
    assert opened(tmp_path, alpha=32.0).restore(state(0)) is not None


def test_the_newest_is_restored_bit_for_bit(tmp_path: Path) -> None:
    saved(tmp_path, 1, 2, 3)
    restored = opened(tmp_path).restore(state(0))
    assert restored is not None
    assert jax.tree.structure(restored.state) == jax.tree.structure(state(3))
    jax.tree.map(np.testing.assert_array_equal, restored.state, state(3))
    assert restored.progress == PROGRESS._replace(turns=3)


def test_only_the_newest_few_are_kept(tmp_path: Path) -> None:
    saved(tmp_path, 1, 2, 3)
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["2", "3"]


@pytest.mark.parametrize("part", ["state", "meta"])
def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_used(
    tmp_path: Path, part: str, caplog: pytest.LogCaptureFixture
) -> None:
    saved(tmp_path, 1, 2)
    damage(tmp_path, 2, part)
    checkpoints = opened(tmp_path)
    with caplog.at_level(logging.WARNING, logger="clawjax"):
        restored = checkpoints.restore(state(0))
    assert restored is not None
    jax.tree.map(np.testing.assert_array_equal, restored.state, state(1))
    assert "using the one before it" in caplog.text
    assert (tmp_path / "checkpoints.damaged" / "2").is_dir()
    checkpoints.save(state(2), PROGRESS)
    again = opened(tmp_path).restore(state(0))
    assert again is not None
    assert int(again.state.step) == 2


def test_a_checkpoint_that_is_half_written_is_none(tmp_path: Path) -> None:
    """What a crash leaves: a part of it under Orbax's name for what is not complete."""
    saved(tmp_path, 1, 2)
    folder = tmp_path / "checkpoints"
    half = folder / "3.orbax-checkpoint-tmp"
    shutil.copytree(folder / "2", half)
    (half / "_CHECKPOINT_METADATA").unlink()
    for file in list((half / "state").rglob("*"))[::2]:
        if file.is_file():
            file.unlink()
    checkpoints = opened(tmp_path)
    restored = checkpoints.restore(state(0))
    assert restored is not None
    jax.tree.map(np.testing.assert_array_equal, restored.state, state(2))
    checkpoints.save(state(3), PROGRESS)
    assert sorted(path.name for path in folder.iterdir()) == ["2", "3"]


def test_a_disk_that_is_full_is_trouble_with_storage_and_not_with_the_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = opened(tmp_path)
    checkpoints.save(state(1), PROGRESS)

    def full(*_: object, **__: object) -> bool:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as disk:
        disk.setattr(checkpoints._manager, "save", full)
        with pytest.raises(StoreError, match="No space left on device: make room"):
            checkpoints.save(state(2), PROGRESS)
    restored = opened(tmp_path).restore(state(0))
    assert restored is not None
    assert int(restored.state.step) == 1


def test_altered_numbers_do_not_pass(tmp_path: Path) -> None:
    """Readable, but not what was saved: the digest tells."""
    checkpoints = opened(tmp_path)
    checkpoints.save(state(1), PROGRESS)
    meta = tmp_path / "checkpoints" / "1" / "meta" / "metadata"
    text = meta.read_text()
    at = text.index('"digest"') + len('"digest": "')
    meta.write_text(text[:at] + ("0" if text[at] != "0" else "1") + text[at + 1 :])
    assert opened(tmp_path).restore(state(0)) is None


def test_another_model_or_rank_is_refused_with_the_fix(tmp_path: Path) -> None:
    saved(tmp_path, 1)
    with pytest.raises(LearnerError, match=r"trained with rank=4, this run has rank=8: .*run\.dir"):
        opened(tmp_path, rank=8).restore(state(0))


def test_an_unusable_path_is_refused(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("a file")
    with pytest.raises(LearnerError, match=r"make it writable or change run\.dir"):
        opened(tmp_path)


def test_the_parent_and_the_refusal_of_the_newest_step_are_kept(tmp_path: Path) -> None:
    progress = PROGRESS._replace(parent=2, refused="too far")
    checkpoints = opened(tmp_path)
    checkpoints.save(state(4), progress)
    restored = checkpoints.restore(state(0))
    assert restored is not None
    assert restored.progress == progress


def test_a_checkpoint_that_names_no_parent_descends_from_the_step_before(tmp_path: Path) -> None:
    saved(tmp_path, 4)
    file = tmp_path / "checkpoints/4/meta/metadata"
    meta = json.loads(file.read_text())
    del meta["parent"], meta["refused"]
    file.write_text(json.dumps(meta))
    restored = opened(tmp_path).restore(state(0))
    assert restored is not None
    assert (restored.progress.parent, restored.progress.refused) == (3, None)
