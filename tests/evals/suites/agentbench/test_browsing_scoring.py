"""Mind2Web's measures and file format; values worked out by hand."""

import json

import pytest

from clawjax.errors import ConfigError
from clawjax.evals.suites.agentbench.browsing.dataset import TOP_K, load_steps
from clawjax.evals.suites.agentbench.browsing.scoring import (
    Choice,
    operation_f1,
    read_choice,
    score_step,
)


@pytest.mark.parametrize(
    ("element", "operation", "wanted"),
    [
        ("7", "TYPE New York", (1.0, 1.0, 1.0)),
        ("7", "York New TYPE", (1.0, 1.0, 1.0)),
        ("7", "TYPE York", (1.0, 0.8, 0.0)),
        ("8", "TYPE New York", (0.0, 1.0, 0.0)),
        ("", "", (0.0, 0.0, 0.0)),
    ],
)
def test_a_step_needs_element_and_operation(element, operation, wanted):
    assert score_step(element, operation, ("7", "9"), "TYPE New York") == pytest.approx(wanted)


def test_where_the_ranker_lost_the_element_nothing_is_right():
    assert score_step("7", "CLICK", (), "CLICK") == (0.0, 0.0, 0.0)


def test_f1_is_over_sets_of_words():
    assert operation_f1("", " ") == 1.0
    assert operation_f1("CLICK", "") == 0.0
    assert operation_f1("TYPE a a", "TYPE a") == 1.0


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Answer: C.\nAction: SELECT\nValue: Queen ", Choice(1, "SELECT Queen")),
        ("Answer: B.\nAction: CLICK", Choice(0, "CLICK")),
        ("Answer: A.", Choice(None, "")),
        ("Action: TYPE\nValue: x", Choice(None, "TYPE x")),
        ("Answer: G", Choice(None, "")),
    ],
)
def test_choices_are_read_as_published(text, wanted):
    assert read_choice(text) == wanted


def element(number, **more):
    return {"backend_node_id": str(number), "tag": "a", "attributes": '{"title": "t"}', **more}


def test_files_of_mind2web_are_read(tmp_path):
    actions = [
        {
            "operation": {"original_op": "HOVER", "op": "CLICK", "value": ""},
            "pos_candidates": [element(1)],
            "neg_candidates": [element(n) for n in range(100, 130)],
        },
        {
            "operation": {"original_op": "TYPE", "op": "TYPE", "value": "New York"},
            "pos_candidates": [element(1, rank=30), element(2, rank=3)],
            "neg_candidates": [element(3, rank=9), element(4, rank=10)],
        },
    ]
    task = {
        "annotation_id": "x", "website": "w", "confirmed_task": "Go.",
        "action_reprs": ["[link] A -> CLICK", "[box] B -> TYPE: New York"], "actions": actions,
    }  # fmt: skip
    (tmp_path / "test.json").write_text(json.dumps([task]))
    steps, version = load_steps(tmp_path)
    assert len(version) == 64
    first, second = steps
    assert first.operation == "CLICK"
    assert len(first.candidates) == TOP_K + 1
    assert first.candidates[0].text.startswith("<a title=t")
    assert second.gold == ("2",)
    assert second.operation == "TYPE New York"
    assert {each.element for each in second.candidates} == {"2", "3"}
    assert second.previous == ("[link] A -> CLICK",)
    assert load_steps(tmp_path) == (steps, version)
    with pytest.raises(ConfigError, match="has no JSON"):
        load_steps(tmp_path / "none.json")
