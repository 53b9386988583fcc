"""Credit of one's own: what it gives is what is learnt from, or no step is taken."""

import dataclasses
import sys
from types import ModuleType

import numpy as np
import pytest
from turn_records import make_turn

from clawjax.config import (
    Baseline,
    CreditConfig,
    LearnerConfig,
    ObjectiveConfig,
    PolicyLoss,
    RewardConfig,
    RunConfig,
    StepScheme,
    StepsConfig,
)
from clawjax.config.additions import drop_unset_additions
from clawjax.errors import ConfigError, LearnerError
from clawjax.learner.credit import AdmittedTurn, CreditState, build_credit
from clawjax.learner.describe import describe
from clawjax.learner.effective import effective_objective
from clawjax.learner.teacher import Lesson

TURNS = [
    AdmittedTurn(make_turn(f"t{size}", response_ids=(1,) * size), score, (), ready_at=0.0)
    for size, score in ((1, 1.0), (2, -1.0), (3, None))
]
STATE = CreditState({"local": 0.5})


@pytest.fixture
def own(monkeypatch) -> ModuleType:
    """A module of the user's own, importable as `own_credits`."""
    module = ModuleType("own_credits")
    monkeypatch.setitem(sys.modules, "own_credits", module)
    return module


def objective(**options) -> ObjectiveConfig:
    return ObjectiveConfig(credit=CreditConfig("own_credits:give", options))


def credited(config: ObjectiveConfig):
    return build_credit(config)(TURNS, STATE, no_log_ratios)


def no_log_ratios(turns):
    raise AssertionError("two forward passes for nothing")


@pytest.mark.parametrize(
    ("given", "credit"),
    [
        ([0.5, -2, None], ((0.5,), (-2.0, -2.0), None)),
        ([[0.5], (1, -1), [0.0] * 3], ((0.5,), (1.0, -1.0), (0.0,) * 3)),
        ((np.ones(1, np.float32), np.float32(2), None), ((1.0,), (2.0, 2.0), None)),
    ],
)
def test_a_number_is_every_tokens_and_nothing_is_no_credit(own, given, credit):
    own.give = lambda turns: given
    found = credited(objective())
    assert found.credit == credit
    assert found.state == STATE


def test_it_sees_the_turns_and_its_options(own):
    seen = []

    def give(turns, *, scale):
        seen.append((turns, scale))
        return [None] * len(turns)

    own.give = give
    credited(objective(scale=2))
    assert seen == [(TURNS, 2)]


@pytest.mark.parametrize(
    ("give", "says"),
    [
        (lambda turns: [1.0], "gave 1 values for 3 turns: give a sequence with an entry for each"),
        (lambda turns: None, "gave NoneType for 3 turns"),
        (lambda turns: [None, [1.0], None], "gave 1 advantages for turn t2, whose reply has 2 tok"),
        (lambda turns: [None, "up", None], "gave 'up' for turn t2 .*: give numbers, or None"),
        (lambda turns: [float("nan"), 1, 1], "gave turn t1 an advantage that is not finite"),
        (
            lambda turns: [1 / 0],
            "raised ZeroDivisionError for a batch of 3 turns: division by",
        ),
    ],
)
def test_what_are_no_advantages_of_these_turns_ends_the_learner(own, give, says):
    own.give = give
    with pytest.raises(LearnerError, match=f"objective.credit.path=own_credits:give {says}"):
        credited(objective())


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"scal": 2}, r"objective\.credit\.options\.scal is unknown: .*did you mean scale"),
        ({}, r"objective\.credit\.options\.scale is missing"),
    ],
)
def test_options_are_checked_where_it_is_found(own, options, says):
    own.give = lambda turns, *, scale: turns
    with pytest.raises(ConfigError, match=says):
        build_credit(objective(**options))
    with pytest.raises(ConfigError, match="No module named 'no_such_credits'"):
        build_credit(ObjectiveConfig(credit=CreditConfig("no_such_credits:give")))


@pytest.mark.parametrize(
    ("beside", "says"),
    [
        ({"baseline": Baseline.grpo}, "so that objective.baseline=grpo would do nothing: leave it"),
        ({"negative_weight": 0.5}, "so that objective.negative_weight=0.5 would do nothing"),
        ({"steps": StepsConfig(StepScheme.pooled)}, "so that objective.steps.scheme=pooled would"),
        ({"name": "opd", "w_rl": 0.0, "w_opd": 1.0}, "which objective.name=opd does not have"),
        ({"name": "sft", "policy_loss": PolicyLoss.sft}, "which objective.name=sft does not have"),
    ],
)
def test_what_it_would_make_idle_is_refused(beside, says):
    with pytest.raises(ConfigError, match=says):
        ObjectiveConfig(credit=CreditConfig("own_credits:give"), **beside)


@pytest.mark.parametrize("idle", [{"options": {"a": 1}}, {"compares_replies": True}])
def test_what_is_of_no_function_is_refused(idle):
    with pytest.raises(ConfigError, match=r"a function that objective\.credit\.path does not name"):
        CreditConfig(**idle)


def test_who_compares_replies_has_them_together():
    assert not objective().compares_replies
    credit = CreditConfig("own_credits:give", compares_replies=True)
    assert ObjectiveConfig(credit=credit).compares_replies


def test_the_objective_says_whose_credit_it_is(own):
    own.give = lambda turns, *, scale: [scale, None, None]
    config = objective(scale=2.0)
    words = describe(config, LearnerConfig(), RewardConfig())
    assert "\n  A by own_credits:give(scale=2.0), of the turns of a batch\n" in words
    assert "baseline" not in words
    step = effective_objective(config, TURNS, credited(config), Lesson({}, {}))
    by = "L_rl 1 turn by own_credits:give(scale=2.0) (2 without credit)"
    assert step.terms == f"{by}; KL 1 turn"
    own.give = lambda turns, *, scale: [None] * 3
    none = effective_objective(config, TURNS, credited(config), Lesson({}, {}))
    assert none.formula == "L = 0"
    inactive = "L_rl by own_credits:give(scale=2.0) inactive: 3 without credit"
    assert none.terms == f"{inactive}; KL inactive"


def test_its_place_decides_nothing_while_it_is_empty():
    for credit, is_there in ((CreditConfig(), False), (CreditConfig("a:b"), True)):
        settings = dataclasses.asdict(RunConfig(objective=ObjectiveConfig(credit=credit)))
        drop_unset_additions(settings)
        assert ("credit" in settings["objective"]) == is_there
