"""Replies become actions, format errors or invalid actions: by type, never by guess."""

import pytest
from toy_suite import toy_task

from clawjax.evals.harness.parsing import final_answer, parse_action_text, reply_parser
from clawjax.evals.harness.protocols import FormatError, InvalidAction, Parsed
from clawjax.evals.harness.rendering import as_call, as_text
from clawjax.evals.harness.tasks import Action
from clawjax.evals.harness.trajectory import AgentTurn, RawCall

BRIEF = toy_task(3).brief("x")
PARSE = reply_parser(parse_action_text)


def call(name, arguments):
    return AgentTurn(calls=(RawCall("1", name, arguments),))


@pytest.mark.parametrize("render", [as_call, as_text])
def test_an_action_is_read_back(render):
    action = Action("add", {"n": 3})
    assert PARSE(render(action), BRIEF) == Parsed((action,))


def test_several_calls_are_several_actions():
    turn = AgentTurn(calls=(RawCall("1", "add", '{"n": 1}'), RawCall("2", "add", '{"n": 2}')))
    assert PARSE(turn, BRIEF) == Parsed((Action("add", {"n": 1}), Action("add", {"n": 2})))


@pytest.mark.parametrize(
    ("turn", "kind"),
    [
        (AgentTurn(text="I think it is 3."), FormatError),
        (AgentTurn(text="Action: add\nArguments: {n: 3}"), FormatError),
        (AgentTurn(text="Action: add\nArguments: [3]"), FormatError),
        (call("add", "{"), FormatError),
        (call("add", "3"), FormatError),
        (call("fly", "{}"), InvalidAction),
        (call("add", "{}"), InvalidAction),
        (call("add", '{"n": "3"}'), InvalidAction),
        (call("add", '{"n": true}'), InvalidAction),
        (call("add", "__import__('os')"), FormatError),
        (call("add", "[" * 9999), FormatError),
        (AgentTurn(text="Action: add\nArguments: " + "[" * 9999), FormatError),
        (call("add", '{"n": 1, "more": ' + "[" * 400 + "]" * 400 + "}"), FormatError),
        (call("add", '{"n": 1, "more": NaN}'), FormatError),
        (call("add", '{"n": 1, "more": [1e999]}'), FormatError),
    ],
)
def test_what_cannot_be_done_says_why(turn, kind):
    found = PARSE(turn, BRIEF)
    assert isinstance(found, kind)
    assert found.problem


def test_the_last_action_of_a_text_counts():
    text = 'Action: add\nArguments: {"n": 1}\nno:\nAction: add\nArguments: {"n": 2}\nthanks'
    assert PARSE(AgentTurn(text=text), BRIEF) == Parsed((Action("add", {"n": 2}),))


def test_a_final_answer_is_the_line_after_the_last_mark():
    assert final_answer("FINAL ANSWER: 3\nno, Final answer: 4 apples \nbye") == "4 apples"
    assert final_answer("the final answer is 3") is None
    assert final_answer("FINAL ANSWER:") == ""


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("**FINAL ANSWER: 42**", "42"),
        ("**FINAL ANSWER:** 42", "42"),
        ("**Final answer**: 42 ", "42"),
        ("__FINAL ANSWER:__\n`42`", "42"),
        ("FINAL ANSWER: [42]", "42"),
        ("FINAL ANSWER: **[a, b]**", "a, b"),
        (r"FINAL ANSWER: \boxed{42}", "42"),
        ("FINAL ANSWER: []", ""),
        ("FINAL ANSWER: [1] and [2]", "[1] and [2]"),
        ("FINAL ANSWER: 3 * 4", "3 * 4"),
    ],
)
def test_what_markdown_and_tex_put_around_a_final_answer_is_not_of_it(text, answer):
    assert final_answer(text) == answer
