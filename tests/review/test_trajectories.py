"""Tasks in a log, step by step, with the labels of machine and people."""

from __future__ import annotations

import json

import pytest
from review_records import reaction, reviewed_turn, said

from clawjax.config import HUMAN, StepAspect
from clawjax.records import (
    DropReason,
    FinishReason,
    Message,
    NextState,
    NextStateKind,
    Outcome,
    ToolCall,
    Turn,
)
from clawjax.review.trajectories import trajectories
from clawjax.testing import temporary_log

CALL = ToolCall("c1", "find", '{"name": "Ada"}')
TASK = (Message("user", "Book for Ada."),)
ANSWER = Message("tool", "G-7", tool_call_id="c1")


def labels(**given: float) -> tuple[float | None, ...]:
    return tuple(given.get(aspect.value) for aspect in StepAspect)


def first_step(turn_id: str) -> Turn:
    reply = Message("assistant", tool_calls=(CALL,))
    return reviewed_turn(turn_id, messages=TASK, reply=reply, tools_json='[{"name": "find"}]')


def last_step(turn_id: str, parent: str) -> Turn:
    before = (*TASK, Message("assistant", tool_calls=(CALL,)), ANSWER)
    return reviewed_turn(turn_id, messages=before, parent_turn_id=parent)


def test_a_task_is_its_steps_and_people_correct_what_the_machine_said(tmp_path):
    log = temporary_log(tmp_path)
    log.append(
        reviewed_turn("chat"),
        reaction("chat"),
        first_step("a1"),
        NextState("a1", NextStateKind.TOOL, 110.0, (ANSWER,)),
        said(1.0, turn_id="a1", module="process", step_labels=labels(call_name=1, progress=1)),
        said(None, turn_id="a1", module=HUMAN, step_labels=labels(progress=-1)),
        Outcome("a1", 120.0, trained_version=4),
        first_step("b1"),
        last_step("a2", "a1"),
        reaction("a2"),
        said(-0.5, turn_id="a2", module="feedback"),
        said(1.0, turn_id="a2", module="reward_model"),
    )
    found = list(trajectories(log))
    assert [[step["turn_id"] for step in task["steps"]] for task in found] == [["b1"], ["a1", "a2"]]
    task = json.loads(json.dumps(found[1]))
    assert task["messages"] == [{"role": "user", "content": "Book for Ada."}]
    assert (task["user"], task["outcome"]) == ("somebody", -0.5)
    step = task["steps"][0]
    assert step["labels"] == {"call_name": 1.0, "progress": -1.0}
    assert step["by"] == {"call_name": "process", "progress": "human"}
    assert (step["score"], step["became"]) == (0.0, "trained@4")
    assert step["results"] == [{"role": "tool", "content": "G-7", "tool_call_id": "c1"}]
    assert step["reply"]["tool_calls"][0]["function"]["name"] == "find"
    assert task["steps"][1]["labels"] == {}
    log.close()


def test_results_that_came_with_words_of_the_user_are_the_step_s(tmp_path):
    log = temporary_log(tmp_path)
    came = (ANSWER, Message("user", "And breakfast."))
    log.append(first_step("a"), NextState("a", NextStateKind.USER, 110.0, came))
    ((step,),) = (task["steps"] for task in trajectories(log))
    assert step["results"] == [{"role": "tool", "content": "G-7", "tool_call_id": "c1"}]
    log.close()


CUT, RETRIED = "cut", "retried"


def step(turn_id: str, parent: str | None, number: int, became: str = "") -> tuple:
    """A reply to the task and the results of so many calls before it, and how it ended."""
    before = (Message("assistant", tool_calls=(CALL,)), ANSWER) * number
    turn = reviewed_turn(
        turn_id,
        session_id="s",
        messages=(*TASK, *before),
        parent_turn_id=parent,
        reply=Message("assistant", tool_calls=(CALL,)),
        finish_reason=FinishReason.CANCELLED if became == CUT else FinishReason.TOOL_CALLS,
    )
    reasons = {CUT: DropReason.CANCELLED, RETRIED: DropReason.RETRIED}
    reason = reasons.get(became)
    return (turn,) if reason is None else (turn, Outcome(turn_id, 1.0, drop_reason=reason))


@pytest.mark.parametrize("lost", [CUT, RETRIED])
@pytest.mark.parametrize(
    ("steps", "tasks"),
    [
        ("1 2x/1 2/1 3/2", ["1 2 3"]),
        ("1 2/1 3/2 2x/1", ["1 2 3"]),
        ("1 2x/1 2y/1", ["1 2y"]),
        ("1 2x/1", ["1 2x"]),
        ("1x 1 2/1", ["1 2"]),
        ("1 2/1 2b/1 3/2", ["1 2b", "1 2 3"]),
        ("1 2x/1 2/1 3/2x", ["1 2", "1 2x 3"]),
    ],
)
def test_a_reply_that_was_lost_tears_no_task_apart(tmp_path, steps, tasks, lost):
    log = temporary_log(tmp_path)
    for told in steps.split():
        turn_id, _, parent = told.partition("/")
        became = lost if turn_id[1:] in ("x", "y") else ""
        log.append(*step(turn_id, parent or None, int(turn_id[0]) - 1, became))
    found = list(trajectories(log))
    assert [" ".join(each["turn_id"] for each in task["steps"]) for task in found] == tasks
    assert all([m["role"] for m in task["messages"]] == ["user"] for task in found)
    log.close()
