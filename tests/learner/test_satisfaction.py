"""The more content a user is, the less of a step is taken."""

from __future__ import annotations

import pytest
from learner_records import make_sample
from learner_runs import VOCAB, Run
from policies import LENGTH, as_sampled
from turn_records import make_turn

from clawjax.config import DriftConfig
from clawjax.learner.budget import DriftBudget
from clawjax.learner.credit import AdmittedTurn
from clawjax.learner.satisfaction import mean_score, satisfied_users, step_scale
from clawjax.records import DropReason


def turns(*scores: float | None, user: str = "local") -> list[AdmittedTurn]:
    return [
        AdmittedTurn(make_turn(f"t{n}", scope=user), score, (), ready_at=0.0)
        for n, score in enumerate(scores)
    ]


def test_the_mean_is_of_the_turns_with_a_score() -> None:
    assert mean_score(turns(1.0, None, 0.0)) == 0.5
    assert mean_score(turns(None)) is None


def test_only_above_the_limit_is_there_nothing_to_do() -> None:
    assert satisfied_users(turns(0.7, None), 0.6) == {"local"}
    assert not satisfied_users(turns(0.6), 0.6)
    assert not satisfied_users(turns(1.0), None)
    assert not satisfied_users(turns(None), 0.6)


def test_each_user_is_judged_by_their_own_turns() -> None:
    batch = [*turns(1.0, 1.0, user="glad"), *turns(-1.0, user="sad"), *turns(None, user="mute")]
    assert mean_score([*batch, *turns(1.0, 1.0, user="glad")]) == 0.6
    assert satisfied_users(batch, 0.5) == {"glad"}
    assert step_scale(batch, 0.5) == pytest.approx((0.0 + 1.0 + 1.0) / 3)
    assert step_scale(batch, None) == step_scale([*batch, *turns(1.0, user="glad")], None)


def test_one_unhappy_user_among_content_ones_is_learnt_from(run: Run) -> None:
    learner = run.learner(batch_turns=6, min_turns=6, rest_above=0.6)
    drawn = [make_sample(f"t{n}", 4, 6, seed=n + 1, vocab=VOCAB) for n in range(6)]
    for n, sample in enumerate(as_sampled(run.model, run.model.params, drawn, version=0)):
        user = "sad" if n == 5 else f"glad{n % 3}"
        run.record(sample, -1.0 if user == "sad" else 1.0, scope=user, session_id=user)
    assert learner.sweep()
    assert run.trained() == {"t5": 1}
    assert run.log.counts().dropped == {DropReason.CONTENT: 5}
    (_, rested), (_, step) = run.monitor.entries
    assert rested == {"train/rested": 1.0, "train/reward_mean": 1.0}
    assert step["train/reward_mean"] == -1.0


@pytest.mark.parametrize(
    ("score", "rest_above", "share"),
    [
        (-1.0, 0.6, 1.0),
        (-0.2, 0.6, 0.5),
        (0.6, 0.6, 0.0),
        (0.9, 0.6, 0.0),
        (0.0, None, 0.5),
        (1.0, None, 0.0),
        (None, 0.6, 1.0),
    ],
)
def test_a_step_shrinks_with_contentment(
    score: float | None, rest_above: float | None, share: float
) -> None:
    assert step_scale(turns(score), rest_above) == pytest.approx(share)


def test_a_learner_takes_shorter_steps_for_who_is_nearly_content(run: Run) -> None:
    moved, limits = {}, DriftConfig(max_step_reply_kl=0.5, eases=True)
    for first, score in ((0, -0.9), (4, 0.5)):
        learner = run.learner(learning_rate=1.0, drift=limits, rest_above=0.6)
        learner.maker.updater.budget = DriftBudget(
            limits, run.train_step.base, fixed_text=(), length_buckets=[LENGTH]
        )
        run.record_many(3, first=first, score=score)
        run.record_many(1, first=first + 3, score=score - 0.1)  # else nothing differs
        run.now += 1000
        assert learner.sweep()
        moved[score] = run.monitor.entries[-1][1]["drift/step_reply_kl"]
    assert moved[0.5] <= 0.5 * (0.6 - 0.475) / 1.6 < moved[-0.9] <= 0.5
