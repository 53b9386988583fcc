"""What was praised is learnt from again, as long as it is better than what is said now."""

from __future__ import annotations

from dataclasses import replace

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from learner_records import make_sample
from learner_runs import VOCAB, Run
from policies import as_sampled
from turn_records import make_turn

from clawjax.config import (
    AGAINST_ITSELF,
    ObjectiveConfig,
    OffPolicyConfig,
    OffPolicyPreset,
    PolicyLoss,
)
from clawjax.errors import ConfigError
from clawjax.learner.credit import AdmittedTurn
from clawjax.learner.replay_buffer import RECENT, ReplayBuffer, ScoredTurn
from clawjax.learner.self_imitation import replayed
from clawjax.records import DropReason, Outcome, SamplingParams

SCORES = st.sampled_from([-1.0, -0.4, 0.0, 0.3, 0.7, 1.0])
COUNTS = st.integers(0, 20)


def admitted(turn_id: str, score: float | None, scope: str = "u") -> AdmittedTurn:
    return AdmittedTurn(make_turn(turn_id, scope=scope), score, (), ready_at=0.0)


def remembering(*turns: AdmittedTurn) -> ReplayBuffer:
    known = ReplayBuffer()
    known.add(ScoredTurn(one.turn, one.score) for one in turns if one.score is not None)
    return known


def ids(known: ReplayBuffer, *batch: AdmittedTurn, count: int = 99) -> list[str]:
    return [sample.turn_id for sample in replayed(known, batch, count)]


def test_the_newest_praised_turns_of_the_same_user_come_back() -> None:
    past = [admitted(f"t{n}", score) for n, score in enumerate((0.9, -0.8, 0.7, None, 1.0))]
    known = remembering(*past, admitted("other", 1.0, scope="v"))
    assert ids(known, admitted("now", -1.0), count=2) == ["t4", "t2"]
    assert ids(known, admitted("now", -1.0), count=0) == []
    assert ids(known, admitted("now", -1.0, scope="v")) == ["other"]
    assert ids(known, admitted("now", -1.0, scope="w")) == []


def test_credit_is_what_the_turn_was_better_by() -> None:
    known = remembering(admitted("good", 0.9), admitted("fair", 0.3))
    batch = (admitted("a", 1.0), admitted("b", 0.0), admitted("silent", None))
    [only] = replayed(known, batch, 4)  # the mean of those with a score is 0.5
    assert only.turn_id == "good"
    assert only.credit == pytest.approx((0.9 - 0.5,) * len(only.response_ids))
    assert only.teacher is None


def test_each_user_is_compared_with_what_they_say_themselves() -> None:
    known = remembering(admitted("mine", 0.9, "u"), admitted("theirs", 0.9, "v"))
    batch = [admitted("a", -1.0, "u"), admitted("b", 1.0, "v"), admitted("c", 0.0, "u")]
    [only] = replayed(known, batch, 4)
    assert only.turn_id == "mine", "who is content learns nothing again because another is not"
    assert only.credit == pytest.approx((0.9 + 0.5,) * len(only.response_ids))
    silent = [admitted("a", None, "u"), admitted("b", 1.0, "v")]
    [only] = replayed(known, silent, 4)
    assert (only.turn_id, only.credit) == ("mine", (0.9,) * len(only.response_ids))


def test_users_take_places_in_turn() -> None:
    past = [admitted(f"{scope}{n}", 1.0, scope) for scope in "uvw" for n in range(3)]
    known = remembering(*past[:7])  # w has one
    batch = [admitted(scope, -1.0, scope) for scope in "uvw"]
    assert ids(known, *batch, count=5) == ["u2", "v2", "w0", "u1", "v1"]
    assert ids(known, *batch) == ["u2", "v2", "w0", "u1", "v1", "u0", "v0"]


def alone(known: ReplayBuffer, batch: list[AdmittedTurn], count: int) -> list[tuple[str, float]]:
    """What one user's batch brings back, and for what credit: the newest above the batch's mean."""
    scores = [one.score for one in batch if one.score is not None]
    value = sum(scores) / len(scores) if scores else 0.0
    newest = [one for one in reversed(known.scored("u")) if one.score > 0][:RECENT]
    return [(o.turn.turn_id, o.score - value) for o in newest if o.score > value][:count]


@given(st.lists(SCORES, max_size=24), st.lists(st.none() | SCORES, min_size=1, max_size=6), COUNTS)
def test_who_is_alone_gets_the_newest_above_the_mean_of_the_batch(
    past: list[float], now: list[float | None], count: int
) -> None:
    known = remembering(*(admitted(f"t{n}", score) for n, score in enumerate(past)))
    batch = [admitted(f"now{n}", score) for n, score in enumerate(now)]
    found = [(s.turn_id, s.credit[0]) for s in replayed(known, batch, count) if s.credit]
    assert found == alone(known, batch, count)


def test_a_turn_is_not_replayed_beside_itself_nor_kept_twice() -> None:
    good = admitted("good", 1.0)
    known = remembering(good, good)
    assert ids(known, good, admitted("now", -1.0)) == []
    assert ids(known, admitted("now", -1.0)) == ["good"]


def test_a_replayed_turn_says_that_its_distribution_was_cut(run: Run) -> None:
    """It may have been sampled by the version that is now, and is no measure of it all the same."""
    run.objective = replace(run.objective, replay_praised=4)
    learner = run.learner(max_staleness=4)
    cut = SamplingParams(max_response_tokens=8, top_p=0.5)
    for number in range(4):  # made-up log-probs, far from the model's
        run.record(make_sample(f"p{number}", 4, 6, seed=number + 9, vocab=VOCAB), 1.0, sampling=cut)
    praised = [judged.turn for judged in run.log.judged(limit=4)]
    learner.maker.reader.replay_buffer.add(ScoredTurn(turn, 1.0) for turn in praised)
    run.log.append(*(Outcome(t.turn_id, 1.0, drop_reason=DropReason.LISTENED) for t in praised))
    run.record_many(4, score=-1.0)
    assert learner.sweep()
    metrics = run.monitor.entries[-1][1]
    assert metrics["train/replayed_turns"] == 4
    assert metrics["train/mismatch_tokens"] == 4 * 6


def test_old_praise_is_forgotten() -> None:
    known = remembering(*(admitted(f"t{n}", 1.0) for n in range(40)))
    assert ids(known, admitted("now", -1.0)) == [f"t{n}" for n in range(39, 23, -1)]


def test_the_learner_makes_praised_turns_likelier_again_and_trains_none_twice(run: Run) -> None:
    run.objective = replace(run.objective, replay_praised=2)
    learner = run.learner()
    samples = [make_sample(f"t{n}", vocab=VOCAB, seed=n) for n in range(8)]
    samples = as_sampled(run.model, run.model.params, samples, version=0)
    for sample, score in zip(samples[:4], (1.0, 1.0, -1.0, -1.0), strict=True):
        run.record(sample, score)
    run.now += 1000
    assert learner.sweep()
    for sample in samples[4:]:
        run.record(sample, -1.0)
    run.now += 1000
    assert learner.sweep()
    replayed = [metrics["train/replayed_turns"] for _, metrics in run.monitor.entries]
    turns = [metrics["train/turns"] for _, metrics in run.monitor.entries]
    assert (replayed, turns) == ([0.0, 2.0], [4.0, 6.0])
    assert run.log.counts().trained == 8
    assert learner.versions.progress.turns == 8
    assert all(
        np.isfinite(leaf).all() for leaf in jax.tree.leaves(learner.versions.state.trainable)
    )


def test_it_needs_a_term_of_scores() -> None:
    for name in ("opd", "sft", "dpo"):
        with pytest.raises(ConfigError, match=r"objective\."):
            ObjectiveConfig(name=name, w_rl=0.0, w_opd=1.0, replay_praised=2)
    assert ObjectiveConfig(replay_praised=2).replay_praised == 2


@pytest.mark.parametrize(
    ("loss", "preset"),
    [
        (PolicyLoss.cispo, OffPolicyPreset.none),
        (PolicyLoss.reinforce, OffPolicyPreset.tis),
        *((PolicyLoss.clipped, preset) for preset in AGAINST_ITSELF),
    ],
)
def test_it_needs_a_clip_against_the_sampler(loss: PolicyLoss, preset: OffPolicyPreset) -> None:
    corrected = ObjectiveConfig(policy_loss=loss, off_policy=OffPolicyConfig(preset=preset))
    with pytest.raises(ConfigError) as caught:
        replace(corrected, replay_praised=2)
    for said in ("objective.replay_praised=2", f"policy_loss={loss}", f"preset={preset}"):
        assert said in str(caught.value)


@pytest.mark.parametrize("loss", [PolicyLoss.clipped, PolicyLoss.gspo])
@pytest.mark.parametrize("preset", [OffPolicyPreset.none, OffPolicyPreset.seq_mask])
def test_it_goes_with_a_clip_against_the_sampler(loss: PolicyLoss, preset: OffPolicyPreset) -> None:
    off_policy = OffPolicyConfig(preset=preset)
    assert ObjectiveConfig(policy_loss=loss, off_policy=off_policy, replay_praised=2)
