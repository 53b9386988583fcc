"""WebArena-Verified: its file, its answers, and its scorer in a process, without a browser."""

import json
import sys

import pytest
from verified_scorers import DATA, REAL, fake_interpreter

from clawjax.errors import ConfigError, EvalError, UnavailableError
from clawjax.evals.harness.protocols import Parsed
from clawjax.evals.suites.webarena_verified.answers import HOW_TO_ANSWER, example_of, right_answer
from clawjax.evals.suites.webarena_verified.records import Needs, hard_tasks, read_verified
from clawjax.evals.suites.webarena_verified.scorer import (
    Evaluated,
    PublishedScorer,
    Question,
    Verdict,
)
from clawjax.evals.suites.webarena_verified.scoring import scored
from clawjax.evals.suites.webarena_verified.suite import build, tasks_of
from clawjax.evals.web.chromium import browser_problem
from clawjax.evals.web.grammar import read_with_long_answers, render_web

TASKS = {task.task_id: task for task in read_verified(DATA.read_bytes())}
SITES = {
    f"__{name.upper()}__": f"http://{name}.test"
    for name in ("shopping", "shopping_admin", "reddit", "gitlab", "map", "wikipedia")
}
needs_browser = pytest.mark.skipif(browser_problem() is not None, reason=str(browser_problem()))


def question(answer, task_id=0):
    sites = {name: [url] for name, url in SITES.items()}
    return Question(DATA, task_id, answer, None, sites)


@pytest.fixture
def scorer(tmp_path):
    scorer = PublishedScorer(fake_interpreter(tmp_path))
    yield scorer
    scorer.close()


def test_tasks_are_read_and_told_how_to_answer():
    tasks = tasks_of(list(TASKS.values()), SITES, hard_tasks(DATA), "v", has_states=True)
    by_id = {task.task_id: task for task in tasks}
    assert len(tasks) == 9
    hard = {task.task_id for task in tasks if task.split == "hard"}
    assert hard == {"44", "68", "147", "293", "432"}
    assert by_id["44"].instruction == f"OBJECTIVE: Open my todos page\n\n{HOW_TO_ANSWER}"
    assert by_id["44"].options == {
        "sites": ["gitlab"],
        "start_urls": ["__GITLAB__"],
        "storage_state": "gitlab_state.json",
    }
    assert by_id["7"].options["storage_state"] is None
    assert {task.metadata["needs"] for task in tasks} == {"response", "requests"}
    assert TASKS[44].needs is Needs.REQUESTS
    # The gold stays behind.
    assert "Quest Lumaflex" not in json.dumps([by_id["0"].setup(0).options, by_id["0"].instruction])


def test_a_file_without_a_hard_subset_has_one_split(tmp_path):
    assert hard_tasks(tmp_path / "tasks.json") is None
    assert {task.split for task in tasks_of([TASKS[0]], SITES, None, "v")} == {"all"}


@pytest.mark.parametrize(
    "evaluators", [[], ["NetworkEventEvaluator"], ["AgentResponseEvaluator"] * 2]
)
def test_another_format_is_refused(evaluators):
    entry = {**json.loads(DATA.read_bytes())[0], "eval": [{"evaluator": e} for e in evaluators]}
    with pytest.raises(ConfigError, match="format"):
        read_verified(json.dumps([entry]).encode())


@pytest.mark.parametrize(
    ("task_id", "retrieved"),
    [
        (0, ["Quest Lumaflex™ Band"]),
        (3, ["Quest Lumaflex™ Band", "Sprite Stasis Ball 65 cm"]),
        (44, None),
        (147, [{"width": "16inch", "height": "24inch"}]),
        (319, None),
    ],
)
def test_a_right_answer_is_built_from_what_is_expected(task_id, retrieved):
    answer = json.loads(right_answer(TASKS[task_id]))
    assert answer["retrieved_data"] == retrieved
    assert answer["task_type"] == TASKS[task_id].expected["task_type"].upper()
    assert (answer["error_details"] is None) == (answer["status"] == "SUCCESS")


@pytest.mark.parametrize(
    ("pattern", "example"),
    [(r"^#?\s*0*170$", "170"), ("^@?yjlou$", "yjlou"), ("^a[^a-z]*(?:b(?:c)?|d\\.)$", "ab")],
)
def test_a_pattern_has_an_example(pattern, example):
    assert example_of(pattern) == example


def test_a_pattern_that_asks_for_more_is_not_guessed_at():
    with pytest.raises(ValueError, match="no example"):
        example_of(r"^\d{3}$")


def test_an_answer_of_several_lines_is_read_whole():
    answer = json.dumps({"status": "SUCCESS", "retrieved_data": ["a]", "b"]}, indent=1)
    [task] = tasks_of([TASKS[0]], SITES, None, "v")
    found = read_with_long_answers(f"Done: ```stop [{answer}]```", task.brief("e"))
    assert isinstance(found, Parsed)
    assert found.actions[0].arguments == {"text": answer}
    assert read_with_long_answers(render_web(found.actions[0]).text, task.brief("e")) == found
    other = read_with_long_answers("```goto [http://a.test]```", task.brief("e"))
    assert isinstance(other, Parsed)
    assert other.actions[0].name == "goto"


async def test_the_process_says_what_each_evaluator_found(scorer):
    assert scorer.installed().version == "fake"
    right = await scorer.ask(question(right_answer(TASKS[0])))
    wrong = await scorer.ask(question('{"status": "UNKNOWN_ERROR"}'))
    assert (right.score, wrong.score) == (1.0, 0.0)
    [found] = wrong.evaluators
    assert found == Evaluated("AgentResponseEvaluator", 0.0, ("no AgentResponseEvaluator",), None)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ("die", "has ended"),
        ("garble", "JSONDecodeError"),
        ("misstate", "'evaluators'"),
        ("raise", "KeyError: 'x'"),
    ],
)
async def test_a_process_that_fails_gives_no_score_and_the_next_question_another(
    scorer, answer, told
):
    await scorer.ask(question("{}"))
    with pytest.raises(EvalError, match=told):
        await scorer.ask(question(answer))
    assert (await scorer.ask(question(right_answer(TASKS[0])))).score == 1.0


async def test_a_process_that_does_not_answer_in_time_is_replaced(tmp_path):
    scorer = PublishedScorer(fake_interpreter(tmp_path), timeout_s=0.3)
    await scorer.ask(question("{}"))
    with pytest.raises(EvalError, match=r"took over 0\.3 s: raise .*scorer_timeout_s"):
        await scorer.ask(question("hang"))
    # The first answer of a process may take longer: it begins by reading its tasks.
    assert (await scorer.ask(question(right_answer(TASKS[0])))).score == 1.0
    scorer.close()


async def test_an_answer_longer_than_a_pipe_reaches_the_process(scorer):
    await scorer.ask(question("{}"))
    assert (await scorer.ask(question(json.dumps({"said": "x" * 2**20})))).score == 0.0


async def test_an_answer_that_breaks_the_scorer_is_wrong(scorer):
    found = await scored(scorer, TASKS[0], question('{"status": 5}'))
    assert found.value == 0.0
    assert found.parts == {"AgentResponseEvaluator": None}
    assert "no attribute 'strip'" in found.explanation


class Broken:
    async def ask(self, question):
        network = Evaluated("NetworkEventEvaluator", 0.0, (), "bad URL")
        return Verdict(0.0, (network, network), ("bad URL", "bad URL"))


async def test_a_scorer_that_breaks_on_a_right_answer_gives_no_score():
    with pytest.raises(EvalError, match="bad URL"):
        await scored(Broken(), TASKS[0], question("{}"))


@pytest.mark.parametrize("python", ["/nowhere/python", sys.executable])
def test_where_the_scorer_is_missing_it_is_said_how_to_get_it(python):
    with pytest.raises(UnavailableError) as told:
        PublishedScorer(python).installed()
    assert "python -m venv VENV" in str(told.value)
    assert "pip install webarena-verified==1.2.3" in str(told.value)


@needs_browser
def test_what_is_played_depends_on_sites_and_needs(tmp_path):
    options = {
        "scorer_python": fake_interpreter(tmp_path),
        "sites": {"shopping": "http://shop.test", "gitlab": "http://gitlab.test"},
    }
    assert {task.task_id for task in build(options).tasks} == {"44", "147", "293", "319", "432"}
    response = build({**options, "needs": "response"})
    assert {task.task_id for task in response.tasks} == {"147", "293", "319"}
    assert response.version == "2, scorer fake"
    for wrong in ({"needs": "luck"}, {"path": str(tmp_path / "none")}, {"sites": {"x": "y"}}):
        with pytest.raises(ConfigError):
            build({**options, **wrong})
    with pytest.raises(UnavailableError, match="scorer_python"):
        build({"sites": options["sites"]})


@pytest.mark.skipif(REAL is None, reason="CLAWJAX_VERIFIED_PYTHON names no interpreter")
async def test_the_real_scorer_pays_right_answers_only():
    scorer = PublishedScorer(str(REAL))
    try:
        for task in map(TASKS.__getitem__, (0, 3, 7, 68, 147, 293)):
            right = question(right_answer(task), task.task_id)
            assert (await scored(scorer, task, right)).value == 1.0, task.task_id
            for answer in (None, "", "Done.", '{"status": 5}'):
                wrong = question(answer, task.task_id)
                assert (await scored(scorer, task, wrong)).value == 0.0, answer
    finally:
        scorer.close()
