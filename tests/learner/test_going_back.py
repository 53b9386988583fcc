"""What the learner does when the version it made is not the one served.

Whatever happened, by the budget or by a person, in a step or between two starts: steps are counted
up, the next version descends from the one served, and every turn is trained exactly once.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
import pytest
from learner_records import make_sample
from learner_runs import LORA, VOCAB, Run, die_at, finish
from policies import as_sampled, served_params

from clawjax.config import DriftConfig
from clawjax.learner.budget import Checked, DriftBudget
from clawjax.learner.loop import Learner
from clawjax.weights import DirectoryWeightStore


class Refusing:
    """A budget that some steps pass."""

    def __init__(self, *steps: int) -> None:
        self.steps = steps
        self.step = 0

    def check(self, policy: Any, samples: Sequence[Any]) -> Checked:
        self.step += 1
        return Checked({"drift/kl": 0.5}, "too far" if self.step in self.steps else None)


def limited(learner: Learner, *steps: int) -> Learner:
    learner.maker.updater.budget = Refusing(*steps)  # pyright: ignore[reportAttributeAccessIssue]
    return learner


def served(run: Run) -> int:
    latest = run.store.latest()
    return 0 if latest is None else latest.version


def record_from(run: Run, learner: Learner, version: int, first: int, count: int = 4) -> None:
    """Turns that a version said, as the engine would have recorded them."""
    trainable = learner.versions.publisher.load(version)
    state = learner.versions.train_step.restart(learner.versions.state, trainable, step=0)
    drawn = [
        make_sample(f"t{index:02d}", 4, 6, seed=index + 1, vocab=VOCAB)
        for index in range(first, first + count)
    ]
    params = served_params(run.model, state, LORA)
    for sample in as_sampled(run.model, params, drawn, version=version):
        run.record(sample, 1.0)


def assert_same(one: Any, other: Any) -> None:
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_a_refused_version_is_kept_and_training_goes_on_from_the_one_served(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    run.record_many(16)
    learner = limited(run.learner(), 2, 3)
    with caplog.at_level(logging.WARNING):
        finish(learner)
    assert run.lineage() == [(1, 0), (2, 1), (3, 1), (4, 1)]
    assert served(run) == 4
    assert [version.version for version in run.store.versions() if version.refused] == [2, 3]
    assert list(run.trained().values()) == [1] * 4 + [2] * 4 + [3] * 4 + [4] * 4
    metrics = [entry for _, entry in run.monitor.entries]
    assert [entry["train/version"] for entry in metrics] == [1, 2, 3, 4]
    assert [entry["train/refused"] for entry in metrics] == [0, 1, 2, 2]
    assert {entry["drift/kl"] for entry in metrics} == {0.5}
    assert "version 2 is kept and not served: too far" in caplog.text
    assert "version 1 is served: training goes on from it" in caplog.text


def test_a_real_budget_refuses_what_it_measures(run: Run) -> None:
    run.record_many(8)
    learner = run.learner()
    untrained = jax.tree.map(np.array, learner.versions.state.trainable)
    learner.maker.updater.budget = DriftBudget(
        DriftConfig(max_kl=1e-9), run.train_step.base, fixed_text=(), length_buckets=[32]
    )
    assert learner.sweep()
    assert served(run) == 0
    (refused,) = run.store.versions()
    assert refused.refused is not None
    assert refused.refused.endswith("above learner.drift.max_kl=1e-09")
    learner.versions.follow()
    assert (learner.version, learner.versions.held) == (1, 0)
    assert_same(learner.versions.state.trainable, untrained)
    learner.maker.updater.budget = None
    assert learner.sweep()
    assert run.lineage() == [(1, 0), (2, 0)]
    assert run.monitor.entries[1][1]["train/mismatch_tokens"] == 24, "all of them fresh"
    assert served(run) == 2


def test_turns_of_the_version_served_are_fresh_however_many_were_refused(run: Run) -> None:
    learner = limited(run.learner(max_staleness=0), 2, 3, 4)
    run.record_many(4)
    assert learner.sweep()
    for first in (4, 8, 12, 16):
        record_from(run, learner, 1, first)
        assert learner.sweep()
    assert run.lineage()[-1] == (5, 1)
    assert run.log.counts().dropped == {}
    for _, metrics in run.monitor.entries:
        assert metrics["train/staleness_max"] == 0
        assert metrics["train/mismatch_tokens"] == 24
        assert metrics["train/mean_abs_logprob_diff"] < 1e-4


@pytest.mark.parametrize("back_to", [0, 1])
def test_after_a_rollback_the_next_version_descends_from_where_it_led(
    run: Run, back_to: int
) -> None:
    learner = run.learner(max_staleness=2)
    run.record_many(8)
    finish(learner)
    record_from(run, learner, 2, 8, count=2)
    run.store.point_to(back_to)
    record_from(run, learner, back_to, 10, count=2)
    assert learner.sweep()
    assert run.lineage()[-1] == (3, back_to)
    assert served(run) == 3
    metrics = run.monitor.entries[-1][1]
    assert metrics["train/mismatch_tokens"] == 12, "those of the version gone back to"
    assert metrics["train/mean_abs_logprob_diff"] < 1e-4
    assert metrics["train/staleness_max"] == 2 - back_to
    record_from(run, learner, 2, 12)
    # Version 2 is on another branch now: as far as both are from the version they share.
    assert learner.sweep() == (back_to == 1)
    assert run.log.counts().dropped == ({"stale": 4} if back_to == 0 else {})


def test_a_rollback_during_a_step_wins(run: Run) -> None:
    run.record_many(16)
    learner = run.learner()
    assert learner.sweep()
    assert learner.sweep()
    versions = learner.versions
    versions.checkpoints = Between(versions.checkpoints, lambda: run.store.point_to(1))  # pyright: ignore[reportAttributeAccessIssue]
    assert learner.sweep()
    assert served(run) == 1
    late = run.store.load(3)[0]
    assert (late.parent, late.refused) == (
        2, "version 1 was put in place of 2 while this one was made",
    )  # fmt: skip
    assert sorted(run.trained().values()) == [1] * 4 + [2] * 4 + [3] * 4
    assert run.monitor.entries[-1][1]["train/refused"] == 1
    assert learner.sweep()
    assert run.lineage() == [(1, 0), (2, 1), (3, 2), (4, 1)]
    assert served(run) == 4
    assert len(run.trained()) == 16


class Between:
    """Does something once, before the checkpoint of a step is saved."""

    def __init__(self, inner: Any, act: Any) -> None:
        self._inner, self._act = inner, act

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def save(self, *args: Any) -> None:
        act, self._act = self._act, lambda: None
        act()
        self._inner.save(*args)


@pytest.mark.parametrize("rolls_back", [True, False], ids=["rolled back", "refused"])
def test_a_restart_ends_where_the_run_would_have_been(run: Run, rolls_back: bool) -> None:
    run.record_many(16)
    learner = limited(run.learner(), *(() if rolls_back else (2, 3)))
    for _ in range(3):
        assert learner.sweep()
    if rolls_back:
        run.store.point_to(1)
    learner.versions.follow()
    revived = run.learner()
    again, before = revived.versions, learner.versions
    assert (again.newest, again.held) == (before.newest, before.held) == (3, 1)
    assert again.progress == before.progress
    assert_same(again.state, before.state)
    assert revived.sweep()
    assert run.lineage()[-1] == (4, 1)
    assert served(run) == 4
    assert len(run.trained()) == 16


@pytest.mark.parametrize(
    ("cause", "part", "method", "when"),
    [
        ("refused", "checkpoints", "save", "before"),
        ("refused", "checkpoints", "save", "after"),
        ("refused", "publisher", "publish", "after"),
        ("refused", "log", "settle", "before"),
        ("rolled back before", "checkpoints", "save", "before"),
        ("rolled back before", "checkpoints", "save", "after"),
        ("rolled back before", "publisher", "publish", "after"),
        ("rolled back after", "log", "claim", "after"),
        ("rolled back after", "checkpoints", "save", "after"),
        ("rolled back after", "publisher", "publish", "after"),
        ("rolled back after", "log", "settle", "after"),
    ],
)
def test_each_turn_is_trained_exactly_once_wherever_it_crashes(
    run: Run, cause: str, part: str, method: str, when: str
) -> None:
    """The second step is refused, or somebody goes back to 0 before the crash in it or after."""
    run.record_many(12)
    first = limited(run.learner(), *((2,) if cause == "refused" else ()))
    assert first.sweep()
    if cause == "rolled back before":
        first.intake.log = Before(first.intake.log, "claim", lambda: run.store.point_to(0))  # pyright: ignore[reportAttributeAccessIssue]
    die_at(first, part, method, when)
    with pytest.raises(KeyboardInterrupt):
        first.sweep()
    if cause == "rolled back after":
        run.store.point_to(0)
    second = run.learner()
    finish(second)
    assert sorted(run.trained().values()) == [1] * 4 + [2] * 4 + [3] * 4
    assert served(run) == second.versions.held == second.version == 3
    back_to = 1 if cause == "refused" else 0
    if (method, when) in (("claim", "after"), ("save", "before")):
        # The step is lost, and taken again: from where somebody went back to, and nobody refuses.
        assert run.lineage() == [(1, 0), (2, back_to), (3, 2)]
    else:
        assert run.lineage() == [(1, 0), (2, 1), (3, back_to)]


class Before:
    """Does something before a method is called."""

    def __init__(self, inner: Any, method: str, act: Any) -> None:
        self._inner, self._method, self._act = inner, method, act

    def __getattr__(self, name: str) -> Any:
        if name == self._method:
            self._act()
        return getattr(self._inner, name)


def test_a_restart_measures_staleness_alike_where_versions_were_removed(run: Run) -> None:
    run.store = DirectoryWeightStore(run.folder / "weights", keep=2)
    learner = run.learner(max_staleness=99)
    for step in range(7):
        run.record_many(4, first=4 * step)
        if step == 3:
            run.store.point_to(2)
        assert learner.sweep()
    assert run.lineage() == [(6, 5), (7, 6)], "4 came from 2, and both are gone"
    revived = run.learner(max_staleness=99)
    ages = [learner.versions.age(version) for version in range(8)]
    assert ages == [6, 5, 4, 5, 3, 2, 1, 0]
    assert [revived.versions.age(version) for version in range(8)] == ages


def test_refusals_are_counted_on_after_a_restart_where_the_versions_were_removed(run: Run) -> None:
    run.store = DirectoryWeightStore(run.folder / "weights", keep=1)
    learner = limited(run.learner(max_staleness=99), 1, 2)
    for step in range(3):
        run.record_many(4, first=4 * step)
        assert learner.sweep()
    assert run.lineage() == [(3, 0)]
    run.record_many(4, first=12)
    assert run.learner(max_staleness=99).sweep()
    counted = [entry["train/refused"] for _, entry in run.monitor.entries]
    assert counted == [1, 2, 2, 2]


def test_lost_checkpoints_continue_from_the_version_served(run: Run) -> None:
    run.record_many(16)
    learner = run.learner()
    for _ in range(3):
        assert learner.sweep()
    run.store.point_to(1)
    for step in (2, 3):
        for file in (run.folder / "checkpoints" / str(step) / "meta").iterdir():
            file.write_bytes(b"\0")
    revived = run.learner()
    assert (revived.version, revived.versions.held) == (3, 1)
    assert_same(revived.versions.state.trainable, revived.versions.publisher.load(1))
    assert revived.sweep()
    assert run.lineage()[-1] == (4, 1)
    assert len(run.trained()) == 16
