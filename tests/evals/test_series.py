"""Series line up with turns; agreement is counted by hand."""

from __future__ import annotations

import pytest
from eval_records import scored, turn
from hypothesis import given
from hypothesis import strategies as st

from clawjax.evals.series import (
    collect_series,
    judge_agreement,
    lost_replies,
    rolling,
)
from clawjax.records import JudgedTurn, TurnKind, Verdict


def judged(number: int, *scores: float | None, version: int = 0) -> JudgedTurn:
    verdicts = tuple(Verdict(f"t{number}", f"m{i}", s, 0.0) for i, s in enumerate(scores))
    return JudgedTurn(number, turn(number, version=version), (), verdicts)


def test_series_follow_the_order_of_arrival_and_leave_side_turns_out() -> None:
    side = JudgedTurn(1, turn(1, kind=TurnKind.SIDE), (), (scored(1, 1.0),))
    turns = [judged(2, -1.0, version=1), side, judged(0, 1.0), judged(3, None, version=1)]
    user = [{"response_id": "r0", "style": 0.0}, {"response_id": "r3", "style": 1.0}]
    metrics = [{"t": 0.5, "train/kl": 0.1}, {"t": 2.0, "train/kl": 0.2}, {"t": 9.0, "x/y": 1}]
    series = collect_series(turns, metrics, user, {})
    assert series.style == (0.0, None, 1.0)
    assert series.reward == (1.0, -1.0, None)
    assert series.version == (0, 1, 1)
    assert series.kl == ((1, 0.1), (2, 0.2))


def test_agreement_counts_signs_against_moods() -> None:
    turns = [judged(0, 1.0), judged(1, 0.4), judged(2, -1.0), judged(3, None), judged(4, 1.0)]
    moods = ["praise", "complaint", "complaint", "praise", "neutral"]
    user = [{"response_id": f"r{i}", "mood": mood} for i, mood in enumerate(moods)]
    found = judge_agreement(turns, user, {})
    assert found is not None
    assert found.agreement == pytest.approx(2 / 3)
    assert found.wrong_sign == pytest.approx(1 / 3)
    assert (found.n, found.abstained, found.neutral_scored) == (3, 1, 1)


def test_curve_and_agreement_are_of_the_score_that_the_learner_sees() -> None:
    thumb = (Verdict("t0", "next_state", -0.5, 0.0), Verdict("t0", "feedback", 0.25, 0.0))
    judges = (Verdict("t1", "a", -0.5, 0.0), Verdict("t1", "b", 1.0, 0.0))
    turns = [JudgedTurn(i, turn(i), (), verdicts) for i, verdicts in enumerate((thumb, judges))]
    user = [{"response_id": f"r{i}", "mood": "praise"} for i in range(2)]
    assert collect_series(turns, [], user, {}).reward == (0.25, 0.25)
    assert collect_series(turns, [], user, {"a": 3.0}).reward == (0.25, -0.125)
    found = judge_agreement(turns, user, {"a": 3.0})
    assert found is not None
    assert (found.agreement, found.n) == (0.5, 2)


def test_without_a_simulated_user_there_is_nothing_to_agree_with() -> None:
    assert judge_agreement([judged(0, 1.0)], [], {}) is None


def test_a_reply_that_the_log_does_not_hold_is_lost() -> None:
    user = [{"response_id": f"r{i}"} for i in range(3)]
    assert lost_replies([judged(i, None) for i in range(3)], user) == 0
    assert lost_replies([judged(0, None), judged(7, None)], user) == 2


@given(st.lists(st.none() | st.floats(0, 1), max_size=30), st.integers(1, 8))
def test_rolling_means_stay_within_what_they_average(
    values: list[float | None], window: int
) -> None:
    means = rolling(values, window)
    assert len(means) == len(values)
    for end, mean in enumerate(means, start=1):
        known = [v for v in values[max(0, end - window) : end] if v is not None]
        assert (mean is None) == (not known)
        if mean is not None:
            assert min(known) - 1e-12 <= mean <= max(known) + 1e-12
