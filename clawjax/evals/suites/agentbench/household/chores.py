"""Our own chores: rooms filled by a seed, three of every kind. The same everywhere, always."""

from __future__ import annotations

import random
from typing import NamedTuple

from clawjax.evals.suites.agentbench.household.goals import KINDS, Goal, plan
from clawjax.evals.suites.agentbench.household.world import World

__all__ = ["GENERATION", "Chore", "own_chores"]

GENERATION = "1"
"""Changes whenever the rooms would."""

_PER_KIND = 3
_ROOMS = {
    "kitchen": (
        {"countertop": 2, "cabinet": 4, "drawer": 2, "diningtable": 1, "fridge": 1, "microwave": 1,
         "sinkbasin": 1, "stoveburner": 2, "garbagecan": 1, "shelf": 2},
        ("apple", "tomato", "potato", "egg", "mug", "cup", "plate", "pan", "knife", "spoon",
         "bread",
         "lettuce", "soapbottle", "saltshaker"),
    ),
    "bathroom": (
        {"countertop": 1, "cabinet": 4, "sinkbasin": 2, "toilet": 1, "shelf": 2, "garbagecan": 1,
         "bathtubbasin": 1, "handtowelholder": 1},
        ("soapbar", "soapbottle", "cloth", "spraybottle", "toiletpaper", "candle", "towel"),
    ),
    "bedroom": (
        {"bed": 1, "desk": 1, "drawer": 4, "shelf": 3, "sidetable": 2, "safe": 1, "garbagecan": 1,
         "armchair": 1},
        ("book", "pen", "pencil", "cd", "cellphone", "keychain", "creditcard", "laptop",
         "alarmclock",
         "pillow", "bowl"),
    ),
}  # fmt: skip
_GOALS = {
    "pick_and_place_simple": (
        ("bathroom", "spraybottle", "toilet"), ("bedroom", "keychain", "safe"),
        ("kitchen", "saltshaker", "drawer"),
    ),
    "look_at_obj_in_light": (
        ("bedroom", "book", "desklamp"), ("bedroom", "bowl", "desklamp"),
        ("bedroom", "cd", "desklamp"),
    ),
    "pick_clean_then_place_in_recep": (
        ("kitchen", "plate", "cabinet"), ("bathroom", "soapbar", "toilet"),
        ("kitchen", "lettuce", "diningtable"),
    ),
    "pick_heat_then_place_in_recep": (
        ("kitchen", "apple", "fridge"), ("kitchen", "mug", "cabinet"),
        ("kitchen", "potato", "diningtable"),
    ),
    "pick_cool_then_place_in_recep": (
        ("kitchen", "tomato", "microwave"), ("kitchen", "bread", "countertop"),
        ("kitchen", "pan", "stoveburner"),
    ),
    "pick_two_obj_and_place": (
        ("bedroom", "pillow", "armchair"), ("bathroom", "soapbottle", "garbagecan"),
        ("bedroom", "creditcard", "drawer"),
    ),
}  # fmt: skip
_COPIES = (1, 2, 2)


class Chore(NamedTuple):
    """A room and what is to be done in it."""

    name: str
    goal: Goal
    contents: dict[str, list[str]]


def own_chores() -> list[Chore]:
    """All of them."""
    return [_chore(kind, number) for kind in KINDS for number in range(_PER_KIND)]


def _chore(kind: str, number: int) -> Chore:
    room, thing, target = _GOALS[kind][number]
    goal = Goal(kind, thing, target)
    rng = random.Random(f"{GENERATION}:{kind}:{number}")
    while True:
        contents = _filled(room, goal, rng)
        if goal.progress(World.of(contents)) == 0.0:
            assert plan(goal, contents)
            return Chore(f"{kind}-{thing}-{target}-{number}", goal, contents)


def _filled(room: str, goal: Goal, rng: random.Random) -> dict[str, list[str]]:
    furniture, things = _ROOMS[room]
    places = [f"{kind} {n}" for kind, count in furniture.items() for n in range(1, count + 1)]
    contents: dict[str, list[str]] = {place: [] for place in places}
    for thing in things:
        copies = 2 if thing == goal.thing else rng.choice(_COPIES)
        for n in range(1, copies + 1):
            contents[rng.choice(places)].append(f"{thing} {n}")
    if room == "bedroom":
        contents[rng.choice(["desk 1", "sidetable 1"])].append("desklamp 1")
    rng.shuffle(places)
    return {place: contents[place] for place in places}
