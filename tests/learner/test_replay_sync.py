"""A learner that goes on remembers what one that was never interrupted does."""

from __future__ import annotations

from dataclasses import replace

import pytest
from learner_records import make_sample
from learner_runs import LENGTH, OBJECTIVE, VOCAB, Run, config
from policies import as_sampled
from turn_records import make_turn

from clawjax.config import HUMAN, PROCESS, RewardConfig, StepScheme, StepsConfig
from clawjax.learner.admission import score_of
from clawjax.learner.credit import AdmittedTurn
from clawjax.learner.loop import Learner
from clawjax.learner.replay_buffer import Feedback, ReplayBuffer, SeenTurn
from clawjax.learner.replay_sync import ReplaySync
from clawjax.records import DropReason, Message, NextState, NextStateKind, Outcome, Sample, Verdict
from clawjax.review.label import Label
from clawjax.review.queue import ReviewQueue


@pytest.fixture(autouse=True)
def recalling(run: Run) -> None:
    run.objective = replace(OBJECTIVE, replay_praised=2)


def after_a_restart(run: Run) -> ReplayBuffer:
    replay_buffer = ReplayBuffer()
    ReplaySync(run.objective, RewardConfig(), run.log, replay_buffer).restore(config())
    return replay_buffer


def remembered(run: Run) -> dict[str, float]:
    return {one.turn.turn_id: one.score for one in after_a_restart(run).scored("local")}


def reads_again(run: Run, learner: Learner) -> ReplayBuffer:
    """What the running learner remembers at its next batch."""
    learner.maker.replay._refresh(["local"])
    return learner.maker.replay.replay_buffer


def rate(run: Run, turn_id: str, score: float, words: str = "") -> None:
    """A user's thumb, with words or without, and the verdict on it."""
    said = (Message("user", words),) if words else ()
    state = NextState(turn_id, NextStateKind.FEEDBACK, 2000.0, said, score)
    run.log.append(state, Verdict(turn_id, "feedback", score, judged_at=2000.0))


def long_sample() -> Sample:
    return make_sample("long", LENGTH, 6, seed=99, vocab=VOCAB)


def test_what_was_taken_into_a_batch_is_remembered(run: Run) -> None:
    learner = run.learner()
    run.record_many(3)
    run.record_many(1, first=3, score=-1.0)
    assert learner.sweep()
    known = learner.maker.reader.replay_buffer.scored("local")
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


def test_a_rating_from_before_the_module_is_recalled_as_it_was_learnt_from(run: Run) -> None:
    run.record_many(1)
    run.log.append(NextState("t00", NextStateKind.FEEDBACK, 2000.0, (), -1.0))
    run.log.append(Outcome("t00", 1.0, trained_version=1))
    assert remembered(run) == {"t00": -1.0}


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


def test_who_runs_on_reads_again_what_was_said_after_training(run: Run) -> None:
    learner = run.learner()
    run.record_many(4)
    assert learner.sweep()
    rate(run, "t03", -1.0, "I take that back, far too long.")
    run.log.append(Verdict("t02", HUMAN, -1.0, judged_at=2000.0))
    again = reads_again(run, learner)
    assert again.scored("local") == after_a_restart(run).scored("local")
    assert {one.turn.turn_id: one.score for one in again.scored("local")} == {
        "t00": 1.0, "t01": 1.0, "t02": -1.0, "t03": -1.0
    }  # fmt: skip
    assert "far too long" in again.scored("local")[-1].user_text


def test_what_was_condemned_after_training_is_not_imitated_any_more(run: Run) -> None:
    learner = run.learner()
    run.record_many(4)
    assert learner.sweep()
    for condemned in ("t01", "t02", "t03"):
        rate(run, condemned, -1.0)
    run.record_many(4, first=4, score=-1.0)
    assert learner.sweep()
    assert run.monitor.entries[-1][1]["train/replayed_turns"] == 1


def test_a_turn_that_is_scored_only_after_training_becomes_an_example_in_its_place(
    run: Run,
) -> None:
    learner = run.learner()
    run.record_many(3)
    run.record_many(1, first=3, score=None)
    run.record_many(1, first=4)
    learner.maker.replay.observe([
        AdmittedTurn(judged.turn, score_of(judged, run.objective, RewardConfig()), ("hint",), 1.0)
        for judged in run.log.judged(limit=9)
    ])  # fmt: skip
    run.log.append(*(Outcome(f"t{n:02d}", 1.0, trained_version=1) for n in range(5)))
    assert list(remembered(run)) == ["t00", "t01", "t02", "t04"]
    rate(run, "t03", 1.0)
    again = reads_again(run, learner)
    assert again.scored("local") == after_a_restart(run).scored("local")
    assert [one.turn.turn_id for one in again.scored("local")] == [f"t{n:02d}" for n in range(5)]


def test_a_label_that_is_taken_back_counts_no_longer(run: Run) -> None:
    queue = ReviewQueue(run.log, lease_s=60.0, clock=lambda: run.now)
    learner = run.learner()
    run.record_many(4)
    assert learner.sweep()
    queue.give(Label("t01", "anna", -1.0, labelled_at=run.now))
    assert [one.score for one in reads_again(run, learner).scored("local")] == [1.0, -1.0, 1.0, 1.0]
    queue.undo("anna")
    assert [one.score for one in reads_again(run, learner).scored("local")] == [1.0] * 4
    assert reads_again(run, learner).scored("local") == after_a_restart(run).scored("local")


def test_a_step_may_recall_all_that_its_users_have_scored(run: Run) -> None:
    replay_buffer = ReplayBuffer()
    turns = [make_turn("past"), make_turn("unscored"), make_turn("other", scope="other")]
    scores = [1.0, None, 1.0]
    replay_buffer.add(SeenTurn(turn, score) for turn, score in zip(turns, scores, strict=True))
    batch = [AdmittedTurn(make_turn("new"), -1.0, (), 0.0)]
    replay_buffer.add(SeenTurn(one.turn, one.score) for one in batch)
    sync = ReplaySync(OBJECTIVE, RewardConfig(), run.log, replay_buffer)
    assert sync.recalled(batch) == ["past", "new"], "what a step leaves out may be practised by"


def test_what_nobody_has_scored_takes_no_place_of_what_somebody_has() -> None:
    replay_buffer = ReplayBuffer()
    scored = [SeenTurn(make_turn(f"s{n}"), 1.0) for n in range(200)]
    silent = [SeenTurn(make_turn(f"n{n}"), None) for n in range(200)]
    replay_buffer.add(one for pair in zip(scored, silent, strict=True) for one in pair)
    newest = [one.turn.turn_id for one in replay_buffer.scored("local")]
    assert newest == [f"s{n}" for n in range(72, 200)]
    assert len(replay_buffer.turn_ids("local")) == 256
    replay_buffer.revise("local", {f"n{n}": Feedback(-1.0, "no") for n in range(200)})
    assert [one.turn.turn_id for one in replay_buffer.blamed("local")] == [
        f"n{n}" for n in range(72, 200)
    ]
    assert replay_buffer.praised("local") == []
