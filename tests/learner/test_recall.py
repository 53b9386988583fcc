"""A learner that goes on remembers what one that was never interrupted does."""

from __future__ import annotations

from dataclasses import replace

import pytest
from learner_records import make_sample
from learner_runs import LENGTH, OBJECTIVE, VOCAB, Run, config
from policies import as_sampled

from clawjax.config import PROCESS, RewardConfig, StepScheme, StepsConfig
from clawjax.learner.recall import recalled
from clawjax.records import DropReason, Outcome, Sample, Verdict


@pytest.fixture(autouse=True)
def recalling(run: Run) -> None:
    run.objective = replace(OBJECTIVE, replay_praised=2)


def remembered(run: Run) -> dict[str, float]:
    found = recalled(run.log, learner=config(), objective=run.objective, reward=RewardConfig())
    return {one.turn.turn_id: one.score for one in found}


def long_sample() -> Sample:
    return make_sample("long", LENGTH, 6, seed=99, vocab=VOCAB)


def test_what_was_taken_into_a_batch_is_remembered(run: Run) -> None:
    learner = run.learner()
    run.record_many(3)
    run.record_many(1, first=3, score=-1.0)
    assert learner.sweep()
    known = learner.reader.reactions.of("local")
    assert remembered(run) == {one.turn.turn_id: one.score for one in known}
    run.record_many(1, first=4)
    assert len(remembered(run)) == 4, "a turn that waits is still to be met"


@pytest.mark.parametrize("reason", [DropReason.CONTENT, DropReason.LISTENED, DropReason.NO_SIGNAL])
def test_so_is_what_was_settled_without_a_step(run: Run, reason: DropReason) -> None:
    run.record_many(1)
    run.log.append(Outcome("t00", 1.0, drop_reason=reason))
    assert remembered(run) == {"t00": 1.0}


def test_what_cannot_be_trained_on_is_not_whatever_was_said_of_it(run: Run) -> None:
    learner = run.learner()
    blind = replace(make_sample("blind", 4, 6, seed=7, vocab=VOCAB), sampler_logprobs=())
    redacted = replace(blind, turn_id="redacted", response_ids=(), token_versions=())
    for sample in (blind, redacted):
        run.record(sample, 1.0)
    run.record(long_sample(), 1.0)
    run.record_many(1)
    assert not learner.sweep()
    run.log.append(Outcome("t00", 1.0, drop_reason=DropReason.RETRIED))
    assert len(run.log.outcomes()) == 4
    assert remembered(run) == {}


def test_bounds_that_were_lowered_hold_for_what_was_trained_on(run: Run) -> None:
    run.record(long_sample(), 1.0)
    run.log.append(Outcome("long", 1.0, trained_version=1))
    assert remembered(run) == {}


def test_a_step_that_is_credited_apart_is_no_score(run: Run) -> None:
    [sample] = as_sampled(
        run.model, run.model.params, [make_sample("t", 4, 6, seed=1, vocab=VOCAB)], version=0
    )
    run.record(sample, None)
    run.log.append(Verdict("t", PROCESS, 1.0, judged_at=1.0, step_labels=(1.0,) * 7))
    run.log.append(Outcome("t", 1.0, trained_version=1))
    assert remembered(run) == {"t": 1.0}
    run.objective = replace(run.objective, steps=StepsConfig(scheme=StepScheme.separate))
    assert remembered(run) == {}
