"""Answers that break off: an official client for real, and what is noticed of the others."""

from __future__ import annotations

from dataclasses import replace

import pytest
from clients.cutting import judge_cut
from clients.judging import Seen, Served
from clients.recipe import Here, Recipe
from clients.runner import run
from clients.script import Fault, Moment, Script
from clients.streaming import streaming_recipes
from turn_records import make_turn

from clawjax.records import (
    DropReason,
    FinishReason,
    JudgedTurn,
    Link,
    LinkKind,
    Message,
    NextState,
    NextStateKind,
    Origin,
    Outcome,
)

SCRIPT = Script(Recipe(name="mine", install=Here("openai"), command=("mine",)), Fault.CUT)
CUT = Moment("heron", 2, False)


def test_an_official_client_asks_again_and_one_turn_is_left():
    row = run(streaming_recipes()["openai-python"], Fault.CUT)
    assert row["reason"] == ""
    assert (row["turns"], row["linked_right"], row["retries_doubled"]) == (10, 10, 0)
    assert (row["cut"], row["trainable"], row["half_replies"]) == (2, 2, 0)


@pytest.fixture
def told():
    """A client that asked again, and the log of it."""
    seen = Seen(SCRIPT, cut={CUT})
    seen.output = " ".join(moment.mark("a") for moment in SCRIPT.expected())
    logged, links, before = [], {}, None
    for name, moment in [("1", Moment("heron", 1, False)), ("cut", CUT), ("2", CUT),
                         ("3", Moment("heron", 3, False))]:  # fmt: skip
        seen.served[name] = Served(moment, (1, 2), [3])
        reaction = SCRIPT.reaction_to(moment)
        said = (Message("user", f"Question {reaction}"),)
        has_none = reaction is None or name == "cut"
        states = () if has_none else (NextState(name, NextStateKind.USER, 2.0, said),)
        turn = make_turn(
            turn_id=name,
            parent_turn_id=before,
            prompt_ids=(1, 2),
            response_ids=(3,),
            finish_reason=FinishReason.CANCELLED if name == "cut" else FinishReason.STOP,
        )
        logged.append(JudgedTurn(len(logged), turn, states, ()))
        links[name] = Link(name, LinkKind.EXTEND, "so", "so", Origin())
        before = before if name == "cut" else name
    return seen, logged, links, {"cut": Outcome("cut", 3.0, drop_reason=DropReason.CANCELLED)}


def test_all_is_well(told):
    row = judge_cut(*told)
    assert row["reason"] == ""
    assert row["ok"]
    assert (row["turns"], row["cut"], row["trainable"]) == (3, 1, 1)


def test_a_cut_turn_that_may_be_trained_on_is_noticed(told):
    reason = judge_cut(*told[:3], {})["reason"]
    assert reason == "heron2, cut, was not dropped; heron2 would be trained on 2 times"


def test_half_a_reply_that_ended_cleanly_is_noticed(told):
    seen, logged, links, outcomes = told
    half = (Message("user", "q"), Message("assistant", "The answer is"))
    last = logged[3]._replace(turn=replace(logged[3].turn, messages=half))
    row = judge_cut(seen, [*logged[:3], last], links, outcomes)
    assert (row["half_replies"], row["reason"]) == (1, "1 histories have half a reply")
    ended = logged[1]._replace(turn=replace(logged[1].turn, finish_reason=FinishReason.STOP))
    reason = judge_cut(seen, [logged[0], ended, *logged[2:]], links, outcomes)["reason"]
    assert "heron2 was logged 2 times" in reason
    assert "heron2 was logged as cut 0 times" in reason


def test_a_client_that_does_not_ask_again_is_noticed(told):
    seen, logged, links, outcomes = told
    reason = judge_cut(seen, [*logged[:2], logged[3]], links, outcomes)["reason"]
    assert "heron2 was logged 0 times" in reason
    assert "heron2 would be trained on 0 times" in reason
