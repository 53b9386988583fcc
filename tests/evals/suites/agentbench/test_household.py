"""Our household behaves like ALFWorld's, and replies are matched as AgentBench matches them."""

import importlib.util
import itertools
import json

import pytest

from clawjax.errors import ConfigError
from clawjax.evals.agents.scripted import ScriptedAgent
from clawjax.evals.harness.outcome import Outcome
from clawjax.evals.harness.protocols import InvalidAction, Parsed
from clawjax.evals.harness.runner import Selection, run
from clawjax.evals.harness.store import EpisodeStore
from clawjax.evals.harness.tasks import Action, Setup
from clawjax.evals.harness.trajectory import AgentTurn, RawCall
from clawjax.evals.suites.agentbench.household.chores import own_chores
from clawjax.evals.suites.agentbench.household.environment import HouseholdEnvironment
from clawjax.evals.suites.agentbench.household.goals import KINDS, Goal, plan
from clawjax.evals.suites.agentbench.household.matching import nearest, sentence_bleu
from clawjax.evals.suites.agentbench.household.suite import STEPS, build
from clawjax.evals.suites.agentbench.household.wording import ACT, offered, parse, read_offered
from clawjax.evals.suites.agentbench.household.world import NOTHING, World

ROOM = {
    "countertop 1": ["apple 1", "knife 1", "desklamp 1"],
    "fridge 1": ["egg 1"],
    "microwave 1": [],
    "sinkbasin 1": [],
}


async def test_no_more_actions_than_the_published_steps_whatever_one_reply_holds(tmp_path):
    suite = build({})
    names = itertools.islice(itertools.cycle(["look", "inventory"]), STEPS + 5)
    calls = [RawCall(f"{i}", ACT, json.dumps({"action": name})) for i, name in enumerate(names)]
    agent = ScriptedAgent("hasty", lambda brief: [AgentTurn(calls=tuple(calls))])
    [episode] = await run(suite, agent, EpisodeStore(tmp_path), Selection(limit=1))
    assert episode.trajectory.outcome is Outcome.TASK_LIMIT
    assert len(episode.trajectory.actions) == STEPS


def told(world, *actions):
    return [world.act(each) for each in actions]


def test_it_speaks_as_alfworld_does():
    world = World.of(ROOM)
    assert world.welcome() == (
        "You are in the middle of a room. Looking quickly around you, you see a countertop 1, "
        "a fridge 1, a microwave 1, and a sinkbasin 1."
    )
    assert told(
        world,
        "go to fridge 1",
        "open fridge 1",
        "take egg 1 from fridge 1",
        "inventory",
        "close fridge 1",
        "cool egg 1 with fridge 1",
        "go to sinkbasin 1",
        "put egg 1 in/on sinkbasin 1",
        "examine sinkbasin 1",
    ) == [
        "The fridge 1 is closed.",
        "You open the fridge 1. The fridge 1 is open. In it, you see a egg 1.",
        "You pick up the egg 1 from the fridge 1.",
        "You are carrying: a egg 1.",
        "You close the fridge 1.",
        "You cool the egg 1 using the fridge 1.",
        "On the sinkbasin 1, you see nothing.",
        "You put the egg 1 in/on the sinkbasin 1.",
        "On the sinkbasin 1, you see a egg 1.",
    ]


@pytest.mark.parametrize(
    "action",
    [
        "take apple 1 from countertop 1",  # too far
        "open countertop 1",
        "go to bed 1",
        "put apple 1 in/on fridge 1",
        "fly",
        "",
    ],
)
def test_what_is_not_admissible_makes_nothing_happen(action):
    world = World.of(ROOM)
    before = dict(world.digest())
    assert world.act(action) == NOTHING
    assert dict(world.digest()) == before


def test_admissible_actions_are_those_that_do_something():
    world = World.of(ROOM)
    told(world, "go to countertop 1")
    assert world.admissible() == [
        "examine countertop 1",
        "go to fridge 1",
        "go to microwave 1",
        "go to sinkbasin 1",
        "inventory",
        "look",
        "take apple 1 from countertop 1",
        "take knife 1 from countertop 1",
        "use desklamp 1",
    ]
    told(world, "take knife 1 from countertop 1")
    assert "slice apple 1 with knife 1" in world.admissible()
    assert not any(each.startswith("take") for each in world.admissible())


def test_heating_undoes_cooling():
    world = World.of(ROOM)
    goal = Goal("pick_cool_then_place_in_recep", "apple", "sinkbasin")
    told(world, "go to countertop 1", "take apple 1 from countertop 1", "go to fridge 1")
    told(world, "cool apple 1 with fridge 1")
    assert goal.progress(world) == 0.5
    told(world, "go to microwave 1", "heat apple 1 with microwave 1", "go to sinkbasin 1")
    told(world, "put apple 1 in/on sinkbasin 1")
    assert not goal.is_done(world)


def test_light_counts_only_where_the_object_is_held():
    world = World.of(ROOM)
    goal = Goal("look_at_obj_in_light", "egg", "desklamp")
    told(world, "go to countertop 1", "use desklamp 1")
    assert goal.progress(world) == 0.0
    told(world, "go to fridge 1", "open fridge 1", "take egg 1 from fridge 1")
    assert goal.progress(world) == 0.5
    told(world, "go to countertop 1")
    assert goal.is_done(world)
    told(world, "use desklamp 1")
    assert not goal.is_done(world)


def test_two_objects_are_two():
    contents = {"bed 1": ["pillow 1", "pillow 2"], "armchair 1": []}
    goal = Goal("pick_two_obj_and_place", "pillow", "armchair")
    world = World.of(contents)
    told(world, *plan(goal, contents)[:4])
    assert goal.progress(world) == 0.5
    told(world, *plan(goal, contents)[4:])
    assert goal.is_done(world)


def test_our_chores_are_of_all_kinds_and_the_same_every_time():
    chores = own_chores()
    assert chores == own_chores()
    assert {each.goal.kind for each in chores} == set(KINDS)
    for each in chores:
        world = World.of(each.contents)
        assert goal_free(each.goal, world)
        assert NOTHING not in told(world, *plan(each.goal, each.contents))
        assert each.goal.is_done(world)


def goal_free(goal, world):
    return goal.progress(world) == 0.0


@pytest.mark.parametrize(
    ("reference", "hypothesis", "wanted"),
    [
        # NLTK 3.10.4: sentence_bleu([reference.split()], hypothesis.split(), method4)
        ("go to cabinet 1", "go to cabinet 1", 1.0),
        ("go to cabinet 1", "go to the cabinet 1", 0.17141814854755813),
        ("put apple 1 in/on fridge 1", "put apple 1 in fridge 1", 0.293945703509473),
        ("take apple 1 from fridge 1", "take the apple", 0.03171655779267419),
        ("look around", "look", 0.36787944117144233),
        ("go to fridge 1", "open", 0),
        ("inventory", "i look in my inventory", 0.0456496931223525),
        ("a b", "b a", 0.08032423517939204),
    ],
)
def test_bleu_is_nltks(reference, hypothesis, wanted):
    assert sentence_bleu(reference, hypothesis) == pytest.approx(wanted, abs=1e-12)


def test_the_nearest_action_is_meant():
    choices = ["go to cabinet 1", "go to fridge 1", "look"]
    assert nearest(" Go to Fridge 1 ", choices) == "go to fridge 1"
    assert nearest("go to the fridge 1 now", choices) == "go to fridge 1"
    assert nearest("dance", choices) == "dance"


def test_replies_are_read_as_published():
    brief = build({}).tasks[0].brief("e")
    read = parse(AgentTurn("THOUGHT: hm.\n ACTION: go to bed 1\nACTION: look"), brief)
    assert read == Parsed((Action("take_action", {"action": "go to bed 1"}),))
    assert isinstance(parse(AgentTurn("Action: look"), brief), InvalidAction)
    assert read_offered(offered("A bed.", ["look", "go to bed 1"])) == ["look", "go to bed 1"]


def test_going_round_in_circles_ends_the_task():
    task = build({}).tasks[0]
    environment = HouseholdEnvironment()
    environment.reset(Setup("x", 0, task.options))
    look = Action("take_action", {"action": "look"})
    assert [environment.step(look).is_valid for _ in range(4)] == [True, True, True, False]


def test_games_of_alfworld_need_its_engine(tmp_path):
    if importlib.util.find_spec("alfworld") is None:
        with pytest.raises(ConfigError, match="pip install alfworld"):
            build({"path": str(tmp_path)})
    else:
        with pytest.raises(ConfigError, match=r"game\.tw-pddl"):
            build({"path": str(tmp_path)})
