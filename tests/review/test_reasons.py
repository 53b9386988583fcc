"""Which turns people are asked about: each rule, its threshold, and how to switch it off."""

from __future__ import annotations

import pytest
from review_records import said

from clawjax.config import HumanConfig, StepAspect
from clawjax.records import Component
from clawjax.review.reasons import (
    contradicts_outcome,
    ensemble_disagrees,
    is_drawn,
    is_unsafe,
    reasons_of,
    request_for,
    votes_split,
)

UNSAFE = tuple(-1.0 if aspect is StepAspect.SAFETY else None for aspect in StepAspect)


@pytest.mark.parametrize(
    ("votes", "is_split"),
    [
        ((1.0, 1.0, -1.0), True),
        ((1.0, 1.0, 1.0, -1.0), False),
        ((1.0, None, None), False),
        ((1.0, -1.0, None), True),
        ((), False),
    ],
)
def test_a_judge_of_two_minds_is_one_without_a_clear_majority_of_valid_votes(votes, is_split):
    verdicts = [said(1.0, votes=votes)]
    assert votes_split(verdicts, 0.75) is is_split
    assert not votes_split(verdicts, None)
    assert not votes_split(verdicts, 0.75, without=["next_state"])


@pytest.mark.parametrize(
    "verdict",
    [
        said(None, module="reward_model", components=(Component("disagreement", 0.3),)),
        said(0.0, module="reward_model", votes=(0.8, -0.4)),  # probabilities of 0.9 and 0.3
    ],
)
def test_an_ensemble_disagrees_by_the_deviation_of_its_members_probabilities(verdict):
    assert ensemble_disagrees([verdict], 0.29, modules=["reward_model"])
    assert not ensemble_disagrees([verdict], 0.31, modules=["reward_model"])
    assert not ensemble_disagrees([verdict], 0.29, modules=["other"])
    assert not ensemble_disagrees([verdict], None, modules=["reward_model"])


def test_safety_is_a_module_s_score_or_the_label_of_a_step():
    assert is_unsafe([said(-0.2, module="constitution")], 0.0, modules=["constitution"])
    assert not is_unsafe([said(-0.2)], 0.0, modules=["constitution"])
    assert not is_unsafe([said(None, module="constitution")], 0.0, modules=["constitution"])
    assert is_unsafe([said(1.0, module="process", step_labels=UNSAFE)], 0.0, modules=[])
    assert not is_unsafe([said(1.0, module="process", step_labels=UNSAFE)], None, modules=[])


def test_judges_and_outcome_contradict_by_sign_and_distance():
    outcomes = ["feedback"]
    pair = [said(0.8), said(-0.4, module="feedback")]
    assert contradicts_outcome(pair, 1.0, outcomes=outcomes)
    assert not contradicts_outcome(pair, 1.3, outcomes=outcomes)
    assert not contradicts_outcome(
        [said(0.8), said(0.1, module="feedback")], 0.5, outcomes=outcomes
    )
    assert not contradicts_outcome([said(0.8)], 0.0, outcomes=outcomes)
    people = [said(0.8, module="human"), said(-1.0, module="feedback")]
    assert not contradicts_outcome(people, 1.0, outcomes=outcomes)


def test_the_audit_is_a_share_that_does_not_change_its_mind():
    ids = [f"turn{number}" for number in range(4000)]
    drawn = [is_drawn(each, 0.1, salt="audit") for each in ids]
    assert 0.08 < sum(drawn) / len(ids) < 0.12
    assert drawn == [is_drawn(each, 0.1, salt="audit") for each in ids]
    assert drawn != [is_drawn(each, 0.1, salt="double") for each in ids]
    assert not any(is_drawn(each, 0.0, salt="audit") for each in ids)
    assert all(is_drawn(each, 1.0, salt="audit") for each in ids)


def test_a_request_says_why_until_when_and_of_how_many():
    config = HumanConfig(hold_s=60.0, audit_share=1.0, double_share=1.0)
    verdicts = [said(1.0, votes=(1.0, -1.0)), said(-1.0, module="feedback")]
    request = request_for("t", verdicts, config, now=1000.0)
    assert request is not None
    assert request.reasons == ("votes split", "contradicts outcome", "audit")
    assert (request.asked_at, request.held_until, request.people) == (1000.0, 1060.0, 2)
    calm = HumanConfig(audit_share=0.0)
    assert request_for("t", [said(1.0, votes=(1.0,))], calm, now=1000.0) is None
    assert list(reasons_of("t", verdicts, calm)) == ["votes split", "contradicts outcome"]
