"""Credit of steps against plain numpy, and which turns are steps of what."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from learner_records import no_log_ratios
from turn_records import make_turn

from clawjax.config import Baseline, ObjectiveConfig, StepScheme, StepsConfig
from clawjax.learner.credit import AdmittedTurn, CreditState, build_credit
from clawjax.learner.credit.steps import Step, pooled, separate, step_bucket
from clawjax.learner.credit.stepwise import as_steps
from clawjax.records import Message

LABELS = st.none() | st.sampled_from([-1.0, -0.5, 0.0, 0.5, 1.0])
TRAJECTORIES = st.lists(
    st.tuples(
        st.sampled_from("AB"),
        st.none() | st.sampled_from([-1.0, 1.0]),
        st.lists(LABELS, min_size=1, max_size=4),
    ),
    min_size=1,
    max_size=6,
)


def steps_of(trajectories) -> list[Step]:
    return [
        Step(f"t{i}", task, number, outcome, process)
        for i, (task, outcome, labels) in enumerate(trajectories)
        for number, process in enumerate(labels)
    ]


def values(found) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in found])


@given(TRAJECTORIES)
def test_buckets_are_those_of_the_reference(trajectories):
    steps = steps_of(trajectories)
    r = np.array([(s.outcome or 0.0) + (s.process or 0.0) for s in steps])
    keys = [(s.task, s.number) for s in steps]
    stats = {}
    for key in dict.fromkeys(keys):
        own = r[[k == key for k in keys]]
        stats[key] = (own.mean(), own.std(), own.size)
    constant = {key for key, (_, std, size) in stats.items() if size > 1 and std**2 <= 1e-12}
    if constant == set(stats):
        constant -= {keys[0]}
    expected = [
        np.nan
        if key in constant
        else value
        if stats[key][2] == 1
        else (value - stats[key][0]) / (stats[key][1] + 1e-6)
        for key, value in zip(keys, r, strict=True)
    ]
    np.testing.assert_allclose(values(step_bucket(steps)), expected, atol=1e-6)


@given(TRAJECTORIES)
def test_pooled_against_numpy(trajectories):
    steps = steps_of(trajectories)

    def z(own: np.ndarray) -> np.ndarray:
        std = own.std(ddof=1) if own.size > 1 else 0.0
        return (own - own.mean()) / max(std, 0.1)

    expected = np.full(len(steps), np.nan)
    for task in {step.task for step in steps}:
        known = {s.trajectory: s.outcome for s in steps if s.task == task and s.outcome is not None}
        outcomes = dict(zip(known, z(np.array(list(known.values()))), strict=True)) if known else {}
        labelled = [i for i, s in enumerate(steps) if s.task == task and s.process is not None]
        normed = (
            dict(zip(labelled, z(np.array([steps[i].process for i in labelled])), strict=True))
            if labelled
            else {}
        )
        for i, step in enumerate(steps):
            if step.task != task:
                continue
            rest = [
                value
                for j, value in normed.items()
                if steps[j].trajectory == step.trajectory and steps[j].number >= step.number
            ]
            parts = [outcomes[step.trajectory]] if step.trajectory in outcomes else []
            parts += [0.5 * sum(rest)] if rest else []
            expected[i] = sum(parts) if parts else np.nan
    found = pooled(steps, process_weight=0.5, floor=0.1)
    np.testing.assert_allclose(values(found), expected, atol=1e-9)


@given(TRAJECTORIES)
def test_separate_against_numpy_and_its_process_parts_add_up_to_nothing(trajectories):
    steps = steps_of(trajectories)
    outcomes = [step.outcome for step in steps]
    found = separate(steps, outcomes, process_weight=0.5)
    several = {
        task: len({s.trajectory for s in steps if s.task == task and s.process is not None}) > 1
        for task in "AB"
    }
    keys = np.array([step.task if several[step.task] else "-" for step in steps])
    p = values([step.process for step in steps])
    for key in set(keys):
        own = (keys == key) & ~np.isnan(p)
        p[own] -= p[own].mean() if own.any() else 0.0
        assert abs(p[own].sum()) < 1e-9
    o = values(outcomes)
    expected = np.where(
        np.isnan(o) & np.isnan(p), np.nan, np.nan_to_num(o) + 0.5 * np.nan_to_num(p)
    )
    np.testing.assert_allclose(values(found), expected, atol=1e-9)


def test_an_index_decides_in_buckets_and_not_in_ours():
    """A detour of one step moves all later steps to other buckets: the mistake is praised."""
    straight = [Step("a", "x", k, 1.0, 1.0) for k in range(3)]
    detour = [Step("b", "x", k, 1.0, p) for k, p in enumerate((1.0, -1.0, 1.0, -1.0))]
    steps = [*straight, *detour]
    bucketed = step_bucket(steps)
    assert bucketed[-1] == 0.0  # alone in its bucket, raw: outcome 1 + label -1
    assert bucketed[2] is bucketed[5] is None
    ours = separate(steps, [0.0] * len(steps), process_weight=1.0)
    assert ours[-1] == ours[4] == pytest.approx(-1.0 - 3 / 7)
    assert ours[2] == ours[5] == pytest.approx(1.0 - 3 / 7)


def episode(name: str, request: str, *labels: float, outcome: float | None) -> list[AdmittedTurn]:
    """A turn per label, each continuing the one before after a tool's answer."""
    messages: tuple[Message, ...] = (Message("user", request),)
    found = []
    for number, process in enumerate(labels):
        turn_id = f"{name}{number}"
        turn = dataclasses.replace(
            make_turn(turn_id, arrived_at=100.0 + number),
            parent_turn_id=f"{name}{number - 1}" if number else None,
            messages=messages,
        )
        is_last = number == len(labels) - 1
        found.append(AdmittedTurn(turn, outcome if is_last else None, (), 0.0, process))
        messages = (*messages, turn.reply, Message("tool", "ok", tool_call_id="c"))
    return found


def test_turns_become_steps_and_the_end_is_everybody_s_outcome():
    first = episode("a", "book", 1.0, 1.0, outcome=1.0)
    second = episode("b", "book", 1.0, -1.0, -1.0, outcome=-1.0)
    steps = as_steps([*second, *first])
    assert [step.number for step in steps] == [0, 1, 2, 0, 1]
    assert [step.outcome for step in steps] == [-1.0] * 3 + [1.0] * 2
    assert len({step.trajectory for step in steps}) == 2
    assert len({step.task for step in steps}) == 1
    other = as_steps(episode("c", "cancel", 1.0, outcome=None))
    assert other[0].task != steps[0].task
    assert other[0].outcome is None


def test_each_answer_to_a_step_that_was_asked_for_again_has_its_own_outcome():
    begun, rejected = episode("a", "book", 1.0, 0.0, outcome=-1.0)
    answers = [rejected, *episode("a", "book", 1.0, 0.0, 0.0, outcome=1.0)[1:]]
    for at, (turn_id, parent) in enumerate([("a1", "a0"), ("a1again", "a0"), ("a2", "a1again")]):
        turn = dataclasses.replace(
            answers[at].turn, turn_id=turn_id, parent_turn_id=parent, arrived_at=110.0 + at
        )
        answers[at] = answers[at]._replace(turn=turn)
    steps = as_steps([answers[2], begun, *answers[:2]])
    assert [(s.trajectory, s.number, s.outcome) for s in steps] == [
        ("a0", 2, 1.0),
        ("a0", 0, 1.0),
        ("a1", 1, -1.0),
        ("a0", 1, 1.0),
    ]
    compared = ObjectiveConfig(
        baseline=Baseline.grpo, steps=StepsConfig(scheme=StepScheme.separate)
    )
    credit = build_credit(compared)([begun, *answers], CreditState(), no_log_ratios).credit
    assert [np.sign(each[0]) for each in credit if each] == [1, -1, 1, 1]


@pytest.mark.parametrize("scheme", [s for s in StepScheme if s is not StepScheme.none])
def test_every_scheme_credits_whole_replies(scheme):
    config = ObjectiveConfig(
        baseline=Baseline.dr_grpo, steps=StepsConfig(scheme=scheme, process_weight=0.5)
    )
    turns = [
        *episode("a", "book", 1.0, 1.0, outcome=1.0),
        *episode("b", "book", 1.0, -1.0, outcome=-1.0),
    ]
    credited = build_credit(config)(turns, CreditState(), no_log_ratios)
    assert credited.metrics["train/trajectories"] == 2.0
    assert credited.metrics["train/process_mean"] == 0.5
    by_turn = dict(zip((t.turn.turn_id for t in turns), credited.credit, strict=True))
    assert all(credit is None or credit[0] == credit[1] for credit in by_turn.values())
    good, bad = by_turn["a1"], by_turn["b1"]
    assert good is not None
    assert bad is not None
    assert good[0] > bad[0]
    if scheme is StepScheme.separate:
        assert good[0] == pytest.approx(1.0 + 0.5 * (1.0 - 0.5))
        assert by_turn["b0"] == pytest.approx((-1.0 + 0.25,) * 2)


def test_a_negative_step_weighs_less_where_blame_does():
    config = ObjectiveConfig(
        baseline=Baseline.none, negative_weight=0.5, steps=StepsConfig(scheme=StepScheme.separate)
    )
    turns = episode("a", "book", 1.0, -1.0, outcome=0.0)
    credited = build_credit(config)(turns, CreditState(), no_log_ratios)
    assert credited.credit[0] == pytest.approx((0.5, 0.5))
    assert credited.credit[1] == pytest.approx((-0.25, -0.25))
