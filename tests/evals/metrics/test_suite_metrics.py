"""Measures of trajectories, by hand-made cases and the formulas' own properties."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_suite import toy_suite, toy_task

from clawjax.evals.compare import compare
from clawjax.evals.harness.runner import Episode
from clawjax.evals.harness.tasks import Action
from clawjax.evals.harness.trajectory import (
    AgentTurn,
    Executed,
    Parse,
    Score,
    Step,
    StepResult,
    Trajectory,
)
from clawjax.evals.metrics.agreement import agreement
from clawjax.evals.metrics.calls import match_calls
from clawjax.evals.metrics.coherence import coherence
from clawjax.evals.metrics.statistics import (
    clustered_bootstrap,
    mcnemar,
    paired_difference,
    pass_at_k,
    pass_hat_k,
    standard_error,
)
from clawjax.evals.metrics.summary import episode_row, summarise


def acts(*names):
    return [Action(name) for name in names]


@pytest.mark.parametrize(
    ("called", "exact", "in_order", "any_order", "precision", "recall"),
    [
        ("ab", 1, 1, 1, 1.0, 1.0),
        ("axb", 0, 1, 1, 2 / 3, 1.0),
        ("ba", 0, 0, 1, 1.0, 1.0),
        ("a", 0, 0, 0, 1.0, 0.5),
        ("aab", 0, 1, 1, 2 / 3, 1.0),
        ("x", 0, 0, 0, 0.0, 0.0),
    ],
)
def test_calls_against_the_reference(called, exact, in_order, any_order, precision, recall):
    found = match_calls(acts(*called), acts("a", "b"), with_arguments=True)
    assert found == (exact, in_order, any_order, pytest.approx(precision), pytest.approx(recall))


def test_arguments_count_or_do_not():
    made, wanted = [Action("a", {"x": 1, "y": 2})], [Action("a", {"y": 2, "x": 2})]
    assert match_calls(made, wanted, with_arguments=True).precision == 0.0
    assert match_calls(made, wanted, with_arguments=False).exact == 1.0


def test_what_is_said_is_no_call():
    found = match_calls([Action.respond("x"), Action.answer("y")], [], with_arguments=True)
    assert (found.exact, found.precision, found.recall) == (1.0, None, None)


def path(*steps):
    """Actions with the state that each leads to, e.g. `a1`."""
    executed = tuple(
        Executed(
            Action(step[0]),
            StepResult("", state=step[1], is_precondition=step.endswith("!")),
        )
        for step in steps
    )
    return Trajectory(
        suite="s",
        suite_version="1",
        data_version="",
        task_id="t",
        split="",
        trial=0,
        attempt=0,
        seed=0,
        agent="",
        instruction="",
        first_observation="",
        steps=(Step(AgentTurn(), Parse.PARSED, executed=executed),),
        outcome="completed",
    )


def test_several_actions_in_one_reply_are_as_many_steps():
    task = toy_task(3)
    silent = Step(AgentTurn(), Parse.FORMAT_ERROR, "Nothing was found.")
    played = path("a1", "b2", "c3")
    played = replace(played, steps=(*played.steps, silent))
    row = episode_row(toy_suite(task), Episode(task, played, Score(1.0)))
    assert (row["steps"], row["steps_over_optimal"], row["spl"]) == (4.0, 2.0, 0.5)


def test_coherent_and_incoherent_plans():
    assert coherence(path("a1", "b2", "c3")) == (0, 0, 0, 0)
    assert coherence(path("a1", "a1", "a1", "a1")) == (0.75, 0.75, 0, 0)
    assert coherence(path("a1", "b2", "a1", "b2")) == (0, 0.5, 0.5, 0)
    assert coherence(path("a1", "b1!")).precondition == 0.5
    assert coherence(path()) == (None, None, None, None)


def test_a_state_may_hold_what_is_no_text_for_utf8():
    assert coherence(path("a\ud800", "b\ud801", "c\ud800")).revisited == 1 / 3


def test_pass_at_k_and_pass_hat_k_by_hand():
    counts = [(4, 2), (4, 4), (4, 0)]
    assert pass_at_k(counts, 2) == pytest.approx((5 / 6 + 1 + 0) / 3)
    assert pass_hat_k(counts, 2) == pytest.approx((1 / 6 + 1 + 0) / 3)
    assert pass_hat_k([(1, 1)], 2) is None


@given(
    st.lists(
        st.tuples(st.integers(1, 6), st.integers(0, 6)).map(lambda t: (t[0], min(t))), min_size=1
    )
)
def test_more_trials_help_one_and_hurt_the_other(counts):
    n = min(n for n, _ in counts)
    at = [pass_at_k(counts, k) for k in range(1, n + 1)]
    hat = [pass_hat_k(counts, k) for k in range(1, n + 1)]
    assert at == sorted(at)
    assert math.isclose(at[0], hat[0])


def test_standard_errors():
    assert standard_error([1.0, 0.0, 1.0, 0.0]) == pytest.approx(0.25)
    assert standard_error([0.2, 0.4]) == pytest.approx(0.1)
    assert standard_error([]) is None


def test_trials_of_a_task_are_no_independent_evidence():
    few = clustered_bootstrap({"a": [1.0] * 10, "b": [0.0] * 10})
    assert few == (0.0, 1.0)
    assert clustered_bootstrap({}) is None
    assert clustered_bootstrap({"a": [1.0, 0.0, 1.0], "b": []}) is None, "one task says no more"


def test_variations_of_a_task_are_kept_together():
    tasks = [
        replace(toy_task(3), task_id=f"{page}.{seed}", variation_of=f"page-{page}")
        for page in range(20)
        for seed in range(5)
    ]
    solved = {task.task_id: [float(int(task.task_id.split(".")[0]) < 12)] for task in tasks}
    pages = {f"page-{page}": [float(page < 12)] * 5 for page in range(20)}
    episodes = [
        Episode(task, replace(path("a1"), task_id=task.task_id), Score(solved[task.task_id][0]))
        for task in tasks
    ]
    assert summarise(toy_suite(*tasks), episodes)["success"]["ci"] == clustered_bootstrap(pages)

    clusters = {task.task_id: task.cluster for task in tasks}
    nothing = {task_id: [0.0] for task_id in solved}
    found = paired_difference(nothing, solved, cluster_of=clusters.__getitem__)
    as_pages = paired_difference({page: [0.0] for page in pages}, pages)
    assert (found.difference, found.n) == (0.6, 100)
    assert found.p_value == as_pages.p_value
    assert found.ci == pytest.approx(as_pages.ci)
    assert compare(episodes, episodes)["mcnemar"] is None


def test_a_paired_comparison():
    a = {str(i): [0.0] for i in range(20)}
    b = {str(i): [float(i < 15)] for i in range(20)}
    found = paired_difference(a, b)
    assert (found.difference, found.n) == (0.75, 20)
    assert found.ci[0] > 0.4
    assert found.p_value == 1 / 2001  # 2^-14, of which 2000 draws tell no more
    assert paired_difference(a, a).p_value == 1.0
    assert paired_difference(a, {"other": [1.0]}) is None
    assert paired_difference({"a": [0.0]}, {"a": [1.0]}) == (1.0, None, None, 1)


@pytest.mark.parametrize(
    ("gains", "p_value"), [((1, 1, 0.1), 0.25), ((1, -1), 1), ((0.3, 0.1), 0.5)]
)
def test_few_tasks_settle_nothing(gains, p_value):
    """Of three that all go one way, two of eight sign assignments are as far from 0."""
    a = {str(i): [0.0] for i in range(len(gains))}
    b = {str(i): [gain] for i, gain in enumerate(gains)}
    assert paired_difference(a, b).p_value == p_value


def test_mcnemars_exact_test():
    a = {str(i): i < 1 for i in range(10)}
    b = {str(i): i >= 1 for i in range(10)}
    found = mcnemar(a, b)
    assert (found.only_a, found.only_b) == (1, 9)
    assert found.p_value == pytest.approx(2 * 11 / 1024)
    assert mcnemar(a, a).p_value == 1.0


def test_a_judges_agreement():
    pairs = [(True, True)] * 20 + [(True, False)] * 10 + [(False, True)] * 5 + [(False, False)] * 15
    found = agreement(pairs)
    assert found.precision == pytest.approx(2 / 3)
    assert found.recall == pytest.approx(0.8)
    assert found.f1 == pytest.approx(8 / 11)
    assert found.negative_predictive_value == pytest.approx(0.75)
    assert found.kappa == pytest.approx(0.4)  # Cohen's own kind of example: 0.7 against 0.5
    assert found.gap == pytest.approx(0.1)
    assert agreement([]).kappa is None
