"""Which answers count, in both editions; expected values were worked out by hand from the published
code, its oddities included."""

import json

import pytest

from clawjax.evals.harness.protocols import FormatError, InvalidAction, Parsed
from clawjax.evals.harness.tasks import Action
from clawjax.evals.harness.trajectory import AgentTurn, RawCall
from clawjax.evals.suites.agentbench.dbbench.environment import DatabaseEnvironment
from clawjax.evals.suites.agentbench.dbbench.rules import (
    is_right,
    main_accuracy,
    published_accuracies,
    same_hash,
)
from clawjax.evals.suites.agentbench.dbbench.suite import build
from clawjax.evals.suites.agentbench.dbbench.wording import EXECUTE, parse, render


@pytest.mark.parametrize(
    ("answer", "gold", "paper", "fc"),
    [
        (' ["March 19, 1998"]', ["March 19, 1998"], True, True),
        ("March 19, 1998", ["March 19, 1998"], True, True),
        ('["7"]', ["7.0"], True, True),
        ("7", ["7.0"], True, True),
        ('["7.004"]', ["7.0"], False, True),
        ('["1,200"]', ["1200"], False, True),
        ('["50%"]', ["50"], False, True),
        ('["none"]', ["none"], True, True),
        ("", ["none"], False, True),
        (" none", ["none"], False, True),
        ('["b", "a"]', ["a", "b"], True, True),
        ('["a", "a", "b"]', ["a", "b"], True, True),
        ("[1, 2]", ["1", "2"], False, True),
        ('["1", "2", "2"]', ["1", "2"], True, False),
        ("[('a',), ('b',)]", ["a", "b"], False, True),
        ('"ab"', ["a", "b"], True, False),
        ("[['a'], ['b']]", ["a", "b"], False, False),
        ('["a"]', ["a", "b"], False, False),
        ("__import__('os').getcwd()", ["x"], False, False),
        ("['a'] + ['b']", ["a", "b"], False, False),
        ("(" * 5000, ["x"], False, False),
        (f"[1{'0' * 400}]", ["5"], False, False),
        (f"[0x{'f' * 5000}]", ["5"], False, False),
        (f"[0x{'f' * 5000}, 5]", ["5"], False, False),
    ],
)
def test_answers_count_as_published(answer, gold, paper, fc):
    assert is_right(answer, gold, "paper") is paper
    assert is_right(answer, gold, "fc") is fc


@pytest.mark.parametrize(("edition", "runs"), [("paper", 15), ("fc", 20)])
def test_the_paper_counts_statements_and_the_other_edition_replies_only(edition, runs):
    task = build({"edition": edition}).tasks[0]
    environment = DatabaseEnvironment()
    environment.reset(task.setup(0))
    made = [environment.step(Action(EXECUTE, {"query": "SELECT 1"})) for _ in range(20)]
    environment.close()
    assert sum(each.error is None for each in made) == runs


def test_a_hash_is_read_as_published_or_alone():
    assert same_hash("09aa8f", "[('09aa8f',)]")
    assert same_hash("09aa8f", "09aa8f")
    assert not same_hash(None, "None")
    assert not same_hash("09aa8f", "[('09aa8e',)]")


def test_the_main_accuracy_is_the_mean_of_three_kinds():
    # Per-type means of an overall.json that a user published: 0.2, 0.24, 0.69 -> 0.37667.
    results = [("other", k < 20) for k in range(100)]
    results += [("INSERT", k < 24) for k in range(100)]
    results += [("UPDATE", k < 69) for k in range(100)]
    found = published_accuracies(results)
    assert found["overall_cat_accuracy"] == pytest.approx(0.376666, abs=1e-5)
    assert found["SELECT_accuracy"] == found["other_accuracy"] == 0.2
    assert found["ranking_accuracy"] == 0.0
    assert main_accuracy(results) == found["overall_cat_accuracy"]
    assert main_accuracy(results[:200]) is None


def test_deletions_count_as_questions():
    found = published_accuracies([("DELETE", True), ("other", False)])
    assert found["SELECT_accuracy"] == 0.5


BRIEF = build({}).tasks[0].brief("e")


def read(text):
    return parse(AgentTurn(text), BRIEF)


def test_statements_and_answers_are_read_as_published():
    first = read("Thinking.\nAction: Operation\n```sql\nSELECT 1\nFROM t\n```\n```sql\nDROP\n```")
    assert first == Parsed((Action("execute_sql", {"query": "SELECT 1 FROM t"}),))
    assert read('Action: Answer\nFinal Answer: ["7"]') == Parsed((Action.answer(' ["7"]'),))
    assert read('So.\nFinal Answer: ["7"]') == Parsed((Action.answer(' ["7"]'),))


@pytest.mark.parametrize(
    "text",
    ["", "I do not know.", "Action: Operation\nSELECT 1", "Final Answer: 7",
     "Action: Operation\n```SQL\nSELECT 1\n```"],
)  # fmt: skip
def test_other_forms_are_format_errors(text):
    assert isinstance(read(text), FormatError)


def test_calls_of_the_other_edition_are_read():
    call = RawCall("1", "commit_final_answer", json.dumps({"answers": ["a", "b"]}))
    assert parse(AgentTurn(calls=(call,)), BRIEF) == Parsed((Action.answer('["a", "b"]'),))
    unknown = RawCall("1", "drop", "{}")
    assert isinstance(parse(AgentTurn(calls=(unknown,)), BRIEF), InvalidAction)


@pytest.mark.parametrize(
    "action", [Action("execute_sql", {"query": "SELECT 1"}), Action.answer("x")]
)
def test_what_is_written_is_read_back(action):
    assert parse(render(action), BRIEF) == Parsed((action,))
