"""What people's labels come to, and how their agreement is counted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from review_records import label, said

from clawjax.config import HUMAN, StepAspect
from clawjax.review.agreement import between_people, cohen_kappa, of_judges
from clawjax.review.label import settle
from clawjax.review.steps import corrected, process_score, step_score

PAIRS = st.lists(
    st.tuples(st.sampled_from(["good", "bad", "unsure"]), st.sampled_from(["good", "bad"])),
    min_size=1,
    max_size=30,
)
ASPECTS = len(StepAspect)


def steps(**labels: float) -> tuple[float | None, ...]:
    return tuple(labels.get(aspect.value) for aspect in StepAspect)


def test_one_person_decides_where_one_is_asked():
    settled = settle([label("t", "anna", 0.5, hints=("Be brief.",))], people=1)
    assert settled.verdict is not None
    assert (settled.verdict.module, settled.verdict.score) == (HUMAN, 0.5)
    assert settled.verdict.hints == ("Be brief.",)


def test_two_who_agree_are_averaged_and_two_who_do_not_ask_a_third():
    agree = settle([label("t", "a", 1.0), label("t", "b", 0.5)], people=2)
    assert agree.verdict is not None
    assert agree.verdict.score == 0.75
    torn = [label("t", "a", 1.0, hints=("x",)), label("t", "b", -1.0, hints=("y",))]
    assert settle(torn, people=2) == (None, 3)
    third = settle([*torn, label("t", "c", -0.5)], people=3)
    assert third.verdict is not None
    assert third.verdict.score == -0.75
    assert third.verdict.hints == ("y",)
    assert third.verdict.votes == (1.0, -1.0, -0.5)


def test_nobody_is_asked_for_ever_and_not_knowing_is_no_zero():
    three = [label("t", "a", 1.0), label("t", "b", -1.0), label("t", "c", None)]
    disagreed = settle(three, people=3)
    assert disagreed.verdict is not None
    assert disagreed.verdict.score is None
    unsure = settle([label("t", "a", 0.0)], people=1)
    assert unsure.verdict is not None
    assert unsure.verdict.score is None
    assert settle([], people=1).verdict is None


def test_a_label_out_of_range_or_shape_is_refused():
    with pytest.raises(ValueError, match="outside"):
        label("t", "a", 1.5)
    with pytest.raises(ValueError, match="2 step labels, expected 7"):
        label("t", "a", 1.0, steps=(1.0, 1.0))


@given(PAIRS)
def test_kappa_against_numpy(pairs):
    names = ["good", "bad", "unsure"]
    table = np.zeros((3, 3))
    for first, second in pairs:
        table[names.index(first), names.index(second)] += 1
    table /= table.sum()
    observed, expected = np.trace(table), float(table.sum(1) @ table.sum(0))
    found = cohen_kappa(pairs)
    assert found.agreed == pytest.approx(observed)
    if expected < 1 - 1e-9:
        assert found.kappa == pytest.approx((observed - expected) / (1 - expected))
    else:
        assert found.kappa is None


def test_agreement_between_people_is_of_turns_that_two_labelled():
    labels = [
        *(label(f"t{n}", "anna", score) for n, score in enumerate((1.0, 1.0, -1.0, -1.0))),
        *(label(f"t{n}", "ben", score) for n, score in enumerate((0.5, 1.0, -1.0, 1.0))),
        label("alone", "anna", 1.0),
    ]
    found = between_people(labels)
    assert (found.n, found.agreed, found.kappa) == (4, 0.75, 0.5)
    assert cohen_kappa([]) == (0, None, None)


def test_judges_are_compared_with_what_people_decided():
    human = [1.0, 1.0, -1.0, -1.0, None]
    judged = [0.9, -0.2, -0.9, None, 0.9]
    turns = [
        [said(score), said(truth, module=HUMAN)] for score, truth in zip(judged, human, strict=True)
    ]
    report = of_judges(turns)["next_state"]
    assert (report.n, report.abstained) == (4, 0.25)
    assert report.right == pytest.approx(2 / 3)
    assert report.bias == pytest.approx(((0.9 - 1) + (-0.2 - 1) + (-0.9 + 1)) / 3)
    assert [(band.high, band.n, band.right) for band in report.bands if band.n] == [
        (0.25, 1, 0.0),
        (1.0, 2, 1.0),
    ]


def test_a_step_is_worth_its_labels_and_nothing_where_it_is_unsafe():
    labels = steps(call_name=1.0, call_arguments=-1.0, progress=0.5, safety=1.0)
    assert step_score(labels, {}) == pytest.approx(0.5 / 3)
    assert step_score(labels, {"call_arguments": 3.0}) == pytest.approx(-1.5 / 5)
    assert step_score(steps(call_name=1.0, safety=-1.0), {}) == -1.0
    assert step_score(steps(safety=1.0), {}) is None
    assert step_score((), {}) is None


def test_people_correct_the_machine_aspect_by_aspect():
    machine = steps(call_name=1.0, progress=1.0)
    people = steps(progress=-1.0)
    assert corrected(machine, people) == steps(call_name=1.0, progress=-1.0)
    assert corrected((), people) == people
    verdicts = [
        said(None, module=HUMAN, step_labels=people),
        said(1.0, module="process", step_labels=machine),
    ]
    for order in (verdicts, verdicts[::-1]):
        assert process_score(order, {}) == 0.0
    assert process_score([said(1.0)], {}) is None
