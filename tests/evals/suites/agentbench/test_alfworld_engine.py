"""Our household against ALFWorld's own engine, where that is installed, over one room.

The engine's version 0.4 says `move` for `put`, arrives in words, and knows `help`.
"""

import importlib.resources
import json
import re

import pytest

from clawjax.evals.suites.agentbench.household.environment import HouseholdEnvironment, OwnEngine
from clawjax.evals.suites.agentbench.household.suite import build

pytest.importorskip("alfworld", reason="pip install alfworld==0.4.2 textworld==1.7.0")
pytest.importorskip("textworld", reason="pip install alfworld==0.4.2 textworld==1.7.0")

CONTENTS = {"countertop 1": ["apple 1"], "diningtable 1": [], "fridge 1": []}
PROBLEM = """
(define (problem plan_1) (:domain alfred)
(:objects agent1 - agent Apple_bar_1 - object AppleType - otype
 FridgeType CounterTopType DiningTableType - rtype
 loc_bar_0 loc_bar_1 loc_bar_2 loc_bar_3 - location
 Fridge_bar_1 CounterTop_bar_1 DiningTable_bar_1 - receptacle)
(:init
 (receptacleType Fridge_bar_1 FridgeType) (receptacleType CounterTop_bar_1 CounterTopType)
 (receptacleType DiningTable_bar_1 DiningTableType) (objectType Apple_bar_1 AppleType)
 (canContain FridgeType AppleType) (canContain CounterTopType AppleType)
 (canContain DiningTableType AppleType)
 (openable Fridge_bar_1) (pickupable Apple_bar_1) (coolable Apple_bar_1)
 (atLocation agent1 loc_bar_0) (receptacleAtLocation Fridge_bar_1 loc_bar_1)
 (receptacleAtLocation CounterTop_bar_1 loc_bar_2)
 (receptacleAtLocation DiningTable_bar_1 loc_bar_3)
 (inReceptacle Apple_bar_1 CounterTop_bar_1) (objectAtLocation Apple_bar_1 loc_bar_2))
(:goal (and (exists (?r - receptacle) (exists (?o - object) (and (isCool ?o) (coolable ?o)
 (objectType ?o AppleType) (receptacleType ?r DiningTableType) (inReceptacle ?o ?r)))))))
"""
WALK = [
    "look",
    "go to fridge 1",
    "open fridge 1",
    "look",
    "examine fridge 1",
    "go to countertop 1",
    "inventory",
    "take apple 1 from countertop 1",
    "inventory",
    "go to fridge 1",
    "close fridge 1",
    "cool apple 1 with fridge 1",
    "examine apple 1",
    "go to diningtable 1",
    "put apple 1 in/on diningtable 1",
]


@pytest.fixture
def game(tmp_path):
    data = importlib.resources.files("alfworld") / "data"
    folder = tmp_path / "pick_cool_then_place_in_recep-Apple" / "trial"
    folder.mkdir(parents=True)
    grammar = (data / "alfred.twl2").read_text()
    held = {
        "pddl_domain": (data / "alfred.pddl").read_text(),
        "grammar": grammar.replace("UNKNOWN GOAL", "cool some apple and put it in diningtable"),
        "pddl_problem": PROBLEM,
        "solvable": True,
        "walkthrough": [],
    }
    (folder / "game.tw-pddl").write_text(json.dumps(held))
    return tmp_path


def newer(action):
    return re.sub(r"^put (.*) in/on (.*)$", r"move \1 to \2", action)


def plain(text):
    text = re.sub(r"^You arrive at [^.]*\. ", "", text.strip())
    return re.sub(r"^You move the (.*) to the (.*)\.$", r"You put the \1 in/on the \2.", text)


def test_the_same_actions_are_admissible_and_say_the_same(game):
    suite = build({"path": str(game)})
    (task,) = suite.tasks
    assert task.metadata["type"] == "pick_cool_then_place_in_recep"
    theirs = HouseholdEnvironment(**suite.launch.options)._engine
    ours = OwnEngine()
    goal = {"kind": "pick_cool_then_place_in_recep", "thing": "apple", "target": "diningtable"}
    one, other = ours.begin({"contents": CONTENTS, **goal}), theirs.begin(task.options)
    try:
        assert one.text == other.text.strip()
        for action in WALK:
            assert {newer(each) for each in one.actions} == set(other.actions) - {"help"}, action
            one, other = ours.act(action), theirs.act(newer(action))
            assert one.text == plain(other.text)
        assert one.is_won
        assert other.is_won
    finally:
        theirs.close()


def test_its_planner_is_the_oracle(game):
    suite = build({"path": str(game)})
    actions = [each.arguments["action"] for each in suite.oracle(suite.tasks[0])]
    assert len(actions) == 6
    assert actions[-1] == "move apple 1 to diningtable 1"
