"""Replies, rules and files of the tasks on a machine."""

import json

import pytest

from clawjax.errors import ConfigError
from clawjax.evals.harness.protocols import InvalidAction, Parsed
from clawjax.evals.harness.tasks import Action
from clawjax.evals.harness.trajectory import AgentTurn, RawCall
from clawjax.evals.suites.agentbench.system.dataset import inspect_items, load
from clawjax.evals.suites.agentbench.system.suite import OWN, is_match
from clawjax.evals.suites.agentbench.system.wording import output_message, parse, render

TASKS = load(OWN, None, split="own", system="")
BRIEF = TASKS[0].brief("e")


def bash(script):
    return Parsed((Action("bash_action", {"script": script}),))


FINISH = Parsed((Action("finish_action", {"thought": ""}),))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Think: look.\n\nAct: bash\n\n```bash\nls\npwd\n```", bash("ls\npwd")),
        ("Act: bash\n```bash\nls\n```\nand\n```bash\npwd\n```", bash("ls\n\npwd")),
        ("Act: bash", bash("")),
        ("Act: Finish", FINISH),
        ("Act: answer(42)", Parsed((Action.answer("42"),))),
        ("Act: answer(f(x) = (2))", Parsed((Action.answer("f(x) = (2)"),))),
        ("Act: answer( 42 )", Parsed((Action.answer(" 42 "),))),
        ("Act: bash\n```bash\nls\n```\nAct: finish", FINISH),
        ("Act: finish\nAct: answer 42", FINISH),
    ],
)
def test_replies_are_read_as_published(text, wanted):
    assert parse(AgentTurn(text), BRIEF) == wanted


@pytest.mark.parametrize("text", ["", "ls", "Act: answer 42", "Act: think", "act: finish"])
def test_the_rest_is_an_invalid_action(text):
    assert isinstance(parse(AgentTurn(text), BRIEF), InvalidAction)


def test_calls_are_read():
    call = RawCall("1", "answer_action", json.dumps({"answer": "42"}))
    assert parse(AgentTurn(calls=(call,)), BRIEF) == Parsed((Action.answer("42"),))


@pytest.mark.parametrize("found", [bash("ls"), FINISH, Parsed((Action.answer("4"),))])
def test_what_is_written_is_read_back(found):
    assert parse(render(found.actions[0]), BRIEF) == found


def test_long_output_is_cut_as_published():
    assert output_message("") == "The output of the OS is empty."
    assert output_message("x" * 800) == "The output of the OS:\n\n" + "x" * 800
    told = output_message("x" * 801)
    assert told.endswith("x\n[truncated because the output is too long]")
    assert len(told) == len("The output of the OS:\n\n") + 780 + 43


@pytest.mark.parametrize(
    ("answer", "rule", "wanted"),
    [
        (" 7\n", {"answer": "7", "strip": True}, True),
        (" 7", {"answer": "7", "strip": False}, False),
        ("07", {"answer": "7", "strip": True}, False),
        ("it is 7.", {"regex": r"\b7\b"}, True),
        ("77", {"regex": r"\b7\b"}, False),
        (None, {"answer": "None", "strip": True}, False),
    ],
)
def test_answers_match_as_published(answer, rule, wanted):
    assert is_match(answer, rule) is wanted


def test_files_of_agentbench_are_read(tmp_path):
    (tmp_path / "check").mkdir()
    (tmp_path / "check" / "same.py").write_text("exit(0)")
    items = [
        {"description": "One", "evaluation": {"match": "1"}},
        {
            "description": "Two",
            "create": {"init": ["touch /a", {"language": "python", "code": "pass"}]},
            "start": "sleep 9 &",
            "evaluation": {
                "check": [None, {"language": "python", "file": "check/same.py"}],
                "example": {"code": "echo 2"},
            },
        },
    ]
    path = tmp_path / "stock.json"
    path.write_text(json.dumps(items))
    one, two = load(path, None, split="stock", system="")
    assert one.task_id == "stock-00000"
    assert one.reference.extra["match"] == {"answer": "1", "strip": True}
    assert two.options["init"] == [("bash", "touch /a"), ("python", "pass")]
    assert two.options["start"] == "sleep 9 &"
    assert two.reference.extra["check"] == [("bash", "echo 2"), ("python", "exit(0)")]
    path.write_text(json.dumps([{"description": "Three", "evaluation": {}}]))
    with pytest.raises(ConfigError, match="cannot be judged"):
        load(path, None, split="stock", system="")
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / "none.json", None, split="stock", system="")


def test_gold_is_not_in_what_the_environment_gets():
    for task in TASKS:
        assert set(task.options) == {"home", "init", "start"}


def test_the_repaired_tasks_are_read_where_their_package_is_installed():
    pytest.importorskip("inspect_evals", reason="inspect-evals carries the repaired tasks")
    assert len(inspect_items("dev", system="")) >= 24
    tasks = inspect_items("test", system="")
    assert len(tasks) >= 108
    assert all("/root" not in task.instruction for task in tasks)
