"""Each step says which terms had turns, and why the others had none."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from turn_records import make_turn

from clawjax.config import Baseline, ObjectiveConfig, PolicyLoss
from clawjax.learner.credit import AdmittedTurn, Credited, CreditState
from clawjax.learner.effective import EffectiveObjective, effective_objective, with_practice
from clawjax.learner.formula import formula, practice_formula
from clawjax.learner.practice import Practised
from clawjax.learner.teacher import Lesson
from clawjax.records import TeacherSays

SAYS = TeacherSays((-1.0, -1.0))
COMBINED = ObjectiveConfig(name="combined", w_opd=1.0, entropy_coef=0.1)


def effective(
    objective: ObjectiveConfig,
    scores: Sequence[float | None],
    *,
    credit: Sequence[bool] | None = None,
    taught: Sequence[int] = (),
    skipped: dict[str, int] | None = None,
    replayed: int = 0,
) -> EffectiveObjective:
    """Of turns with these scores; by default, who has one has credit."""
    turns = [
        AdmittedTurn(make_turn(f"t{i}"), score, ("hint",), ready_at=0.0)
        for i, score in enumerate(scores)
    ]
    has_credit = [score is not None for score in scores] if credit is None else credit
    credited = Credited(tuple((1.0, 1.0) if has else None for has in has_credit), CreditState())
    lesson = Lesson({f"t{i}": SAYS for i in taught}, skipped or {})
    return effective_objective(objective, turns, credited, lesson, replayed=replayed)


def test_a_term_without_turns_is_inactive_for_a_reason_and_not_in_the_formula() -> None:
    step = effective(COMBINED, [1.0] * 16, skipped={"no_hint": 16})
    assert step.formula == formula(COMBINED, without=["L_opd"])
    assert step.terms == "L_rl 16 turns; L_opd inactive: 16 without hint; KL 16 turns; H 16 turns"
    assert str(step) == f"{step.formula}; {step.terms}"
    assert step.texts == {"train/objective": step.formula, "train/terms": step.terms}


def test_turns_without_any_signal_feed_no_term() -> None:
    step = effective(COMBINED, [None, None, 0.5], taught=[0], skipped={"too_long": 1, "no_hint": 1})
    assert step.formula == formula(COMBINED)
    assert step.terms == (
        "L_rl 1 turn (2 without score); "
        "L_opd 1 turn (1 too long with the hint, 1 without hint); KL 2 turns; H 2 turns"
    )


def test_turns_that_are_learnt_from_again_feed_what_scores_feed() -> None:
    step = effective(COMBINED, [1.0, None], taught=[1], skipped={"praised": 1}, replayed=8)
    assert step.terms == (
        "L_rl 1 turn and 8 praised before (1 without score); L_opd 1 turn (1 praised); "
        "KL 2 turns and 8 praised before; H 2 turns and 8 praised before"
    )
    only = effective(COMBINED, [None], taught=[0], replayed=2)
    assert only.formula == formula(COMBINED)
    assert only.terms.startswith("L_rl 0 turns and 2 praised before (1 without score)")


def test_practice_is_a_part_of_the_step_that_says_what_it_was_fed_by() -> None:
    step = effective(COMBINED, [1.0], skipped={"no_hint": 1})
    assert with_practice(step, COMBINED, None) == step
    one = with_practice(step, COMBINED, Practised(users=1, rounds=1, answers=16))
    assert one.formula == f"{step.formula}; {practice_formula(COMBINED)}"
    assert one.terms == f"{step.terms}; L_practice 16 answers for 1 user in 1 update"
    more = with_practice(step, COMBINED, Practised(users=2, rounds=3, answers=40))
    assert more.terms.endswith("; L_practice 40 answers for 2 users in 3 updates")


@pytest.mark.parametrize(
    ("users", "reason"), [(0, "nobody's taste is known"), (1, "answers to a question all alike")]
)
def test_practice_that_taught_nothing_says_why(users: int, reason: str) -> None:
    step = effective(COMBINED, [1.0], skipped={"no_hint": 1})
    idle = with_practice(step, COMBINED, Practised(users))
    assert idle.formula == step.formula
    assert idle.terms == f"{step.terms}; L_practice inactive: {reason}"


def test_where_no_turn_is_left_nothing_is_minimised() -> None:
    step = effective(COMBINED, [None], skipped={"not_finite": 1})
    assert step.formula == "L = 0"
    assert step.terms == (
        "L_rl inactive: 1 without score; "
        "L_opd inactive: 1 with a teacher that is not finite; KL inactive; H inactive"
    )


@pytest.mark.parametrize(
    ("objective", "reason"),
    [
        (ObjectiveConfig(baseline=Baseline.grpo), "without a reply to compare with"),
        (ObjectiveConfig(name="sft", policy_loss=PolicyLoss.sft), "not praised"),
    ],
)
def test_a_score_that_gives_no_credit_is_explained(objective: ObjectiveConfig, reason: str) -> None:
    step = effective(objective, [1.0, 0.0], credit=[True, False])
    assert step.terms.startswith(f"L_rl 1 turn (1 {reason}); KL 1 turn")


@given(st.lists(st.sampled_from([None, 0.0, 1.0]), min_size=1, max_size=8), st.data())
def test_whether_a_turn_fed_a_term_or_not_it_is_counted(
    scores: list[float | None], data: st.DataObject
) -> None:
    has_credit = [score is not None and data.draw(st.booleans()) for score in scores]
    said = effective(ObjectiveConfig(kl_coef=0.0), scores, credit=has_credit).terms
    assert sum(map(int, re.findall(r"\d+", said))) == len(scores)
