"""Credit of binary RL, and what each baseline does to a batch of one mind."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from learner_records import no_log_ratios
from turn_records import make_turn

from clawjax.config import Baseline, ObjectiveConfig
from clawjax.learner.credit import AdmittedTurn, Credited, CreditState, build_credit

START = CreditState()


def scored(scores: list[float]) -> list[AdmittedTurn]:
    return [
        AdmittedTurn(make_turn(f"t{i}", response_ids=(4,) * (i + 1)), score, (), ready_at=0.0)
        for i, score in enumerate(scores)
    ]


def credited(scores: list[float], baseline: Baseline, state: CreditState = START) -> Credited:
    return build_credit(ObjectiveConfig(baseline=baseline))(scored(scores), state, no_log_ratios)


def per_turn(result: Credited) -> list[float]:
    assert all(len(set(tokens)) == 1 for tokens in result.credit)
    return [tokens[0] for tokens in result.credit]


GROUPED = (Baseline.grpo, Baseline.dr_grpo, Baseline.rloo, Baseline.reinforce_pp)
SCORES = st.lists(st.floats(-1, 1), min_size=1, max_size=12)


@given(SCORES, st.sampled_from(list(Baseline)))
def test_one_credit_per_response_token(scores: list[float], baseline: Baseline) -> None:
    result = credited(scores, baseline)
    lengths = [None if tokens is None else len(tokens) for tokens in result.credit]
    assert all(length in (None, index) for index, length in enumerate(lengths, start=1))
    if baseline not in GROUPED:
        assert None not in lengths


@pytest.mark.parametrize("baseline", GROUPED)
def test_what_one_user_likes_says_nothing_of_what_another_got(baseline: Baseline) -> None:
    both = [
        AdmittedTurn(make_turn(scope, scope=scope), score, (), ready_at=0.0)
        for scope, score in (("anna", 1.0), ("ben", -1.0))
    ]
    found = build_credit(ObjectiveConfig(baseline=baseline))(both, START, no_log_ratios)
    assert found.credit == (None, None), "there is nothing to compare with"


@given(SCORES, st.floats(-1, 1))
def test_values_against_numpy(scores: list[float], ema: float) -> None:
    s, state = np.array(scores), CreditState({"local": ema})
    np.testing.assert_allclose(per_turn(credited(scores, Baseline.none, state)), s)
    np.testing.assert_allclose(
        per_turn(credited(scores, Baseline.batch_mean, state)), s - s.mean(), atol=1e-12
    )
    np.testing.assert_allclose(per_turn(credited(scores, Baseline.ema, state)), s - ema)
    others = [np.delete(s, i).mean() if len(s) > 1 else 0.0 for i in range(len(s))]
    np.testing.assert_allclose(
        per_turn(credited(scores, Baseline.leave_one_out, state)), s - others, atol=1e-12
    )


def test_a_first_batch_of_complaints_pushes_under_the_moving_average() -> None:
    assert per_turn(credited([-1.0, -1.0], Baseline.ema)) == [-1.0, -1.0]


@pytest.mark.parametrize("baseline", [Baseline.batch_mean, Baseline.leave_one_out])
def test_a_batch_of_complaints_teaches_nothing_under_batch_baselines(baseline: Baseline) -> None:
    assert per_turn(credited([-1.0, -1.0, -1.0], baseline)) == [0.0, 0.0, 0.0]


def test_praise_for_what_is_always_done_fades() -> None:
    state = CreditState()
    for _ in range(50):
        result = credited([1.0, 1.0], Baseline.ema, state)
        state = result.state
    assert 0 < per_turn(result)[0] < 0.01


@given(st.lists(SCORES, min_size=1, max_size=5))
def test_the_average_sees_only_the_past(batches: list[list[float]]) -> None:
    state, expected = CreditState(), 0.0
    for scores in batches:
        result = credited(scores, Baseline.ema, state)
        np.testing.assert_allclose(per_turn(result), np.array(scores) - expected, atol=1e-12)
        state = result.state
        expected = 0.9 * expected + 0.1 * float(np.mean(scores))


def test_turns_without_a_score_get_no_credit_and_count_for_nothing() -> None:
    turns = scored([1.0, 0.0, -1.0])
    silent = turns[1]._replace(score=None, hints=("be brief",))
    result = build_credit(ObjectiveConfig(baseline=Baseline.batch_mean))(
        [turns[0], silent, turns[2]], START, no_log_ratios
    )
    assert result.credit == ((1.0,), None, (-1.0,) * 3)
    assert result.state.ema_scores == {"local": 0.0}
    nothing = build_credit(ObjectiveConfig())([silent], CreditState({"local": 0.5}), no_log_ratios)
    assert nothing == Credited((None,), CreditState({"local": 0.5}))


def test_each_user_has_a_baseline_of_their_own() -> None:
    pleased, displeased = scored([1.0])[0], scored([-1.0])[0]
    other = dataclasses.replace(displeased.turn, turn_id="other", scope="other")
    turns = [pleased, displeased._replace(turn=other)]
    credit = build_credit(ObjectiveConfig(ema_decay=0.5))
    state = credit(turns, START, no_log_ratios).state
    assert state.ema_scores == {"local": 0.5, "other": -0.5}
    assert state.mean == 0.0
    assert credit(turns, state, no_log_ratios).credit == ((0.5,), (-0.5,))


@pytest.mark.parametrize(
    "baseline", [Baseline.grpo, Baseline.dr_grpo, Baseline.rloo, Baseline.reinforce_pp]
)
def test_groups_are_replies_to_the_same_prompt(baseline: Baseline) -> None:
    turns = scored([1.0, -1.0, 0.5, 0.5])
    apart = [
        turn._replace(turn=dataclasses.replace(turn.turn, prompt_ids=(9, 9))) if index > 1 else turn
        for index, turn in enumerate(turns)
    ]
    alone = turns[0].turn
    apart.append(turns[0]._replace(turn=dataclasses.replace(alone, turn_id="t9", prompt_ids=(7,))))
    function = build_credit(ObjectiveConfig(baseline=baseline))
    first, second, *others = function(apart, START, no_log_ratios).credit
    assert first is not None
    assert second is not None
    assert first[0] == -second[0] > 0
    assert others == [None] * 3  # a group of equal scores, and a turn without others
    assert function(apart[:2], START, no_log_ratios).credit == (first, second), "their own scale"
