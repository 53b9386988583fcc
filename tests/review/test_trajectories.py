"""Tasks in a log, step by step, with the labels of machine and people."""

from __future__ import annotations

import json

from review_records import reaction, reviewed_turn, said

from clawjax.config import HUMAN, StepAspect
from clawjax.records import Message, NextState, NextStateKind, Outcome, ToolCall, Turn
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
