"""Wherever a learner dies, the next one finishes or undoes what it left."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from learner_runs import Run, die_at, finish

from clawjax.learner.step import TrainStep
from clawjax.models.load import LoadedModel


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, tiny_model: LoadedModel, loop_step: TrainStep
) -> Run:
    """Three steps without a crash."""
    run = Run(tmp_path_factory.mktemp("undisturbed"), tiny_model, loop_step)
    run.record_many(12)
    finish(run.learner())
    return run


CRASHES = [
    ("log", "claim", "before"),
    ("log", "claim", "after"),
    ("log", "begin", "after"),
    ("checkpoints", "save", "before"),
    ("checkpoints", "save", "after"),
    ("publisher", "publish", "after"),
    ("log", "settle", "before"),
    ("log", "settle", "after"),
    ("monitor", "log", "before"),
]


@pytest.mark.parametrize(("part", "method", "when"), CRASHES)
def test_each_turn_is_trained_exactly_once_wherever_it_crashes(
    run: Run, undisturbed: Run, part: str, method: str, when: str
) -> None:
    run.record_many(12)
    first = run.learner()
    assert first.sweep()
    die_at(first, part, method, when)
    with pytest.raises(KeyboardInterrupt):
        first.sweep()
    second = run.learner()
    finish(second)
    assert run.trained() == undisturbed.trained()
    assert len(run.trained()) == 12
    assert run.lineage() == [(1, 0), (2, 1), (3, 2)]
    ours, theirs = run.store.load(3)[1], undisturbed.store.load(3)[1]
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        np.testing.assert_array_equal(tensor, theirs[name], err_msg=name)
    assert second.versions.progress == undisturbed.learner().versions.progress


def test_a_lost_checkpoint_continues_from_what_is_published(run: Run) -> None:
    run.record_many(8)
    learner = run.learner()
    learner.sweep()
    for file in (run.folder / "checkpoints" / "1" / "meta").iterdir():
        file.write_bytes(b"\0")
    revived = run.learner()
    assert revived.version == 1
    jax.tree.map(
        np.testing.assert_array_equal,
        revived.versions.state.trainable,
        revived.versions.publisher.load(1),
    )
    assert revived.sweep()
    assert run.lineage() == [(1, 0), (2, 1)]
    assert set(run.trained().values()) == {1, 2}
