"""The six kinds of chores: what is asked, when it is done, how far it is, and how to do it.

Kinds and predicates are ALFRED's (Shridhar et al. 2020, arXiv:1912.01734). Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from clawjax.evals.suites.agentbench.household.world import OPENABLE, World, kind_of

__all__ = ["KINDS", "Goal", "plan"]


@dataclass(frozen=True, slots=True)
class Goal:
    """One chore."""

    kind: str
    """One of `KINDS`."""
    thing: str
    """Kind of object."""
    target: str
    """Kind of receptacle; of lamp for `look_at_obj_in_light`."""

    def text(self) -> str:
        """As ALFWorld asks for it."""
        return _TEXTS[self.kind].format(self.thing, self.target)

    def is_done(self, world: World) -> bool:
        """Whether the world is as wanted."""
        return self.progress(world) == 1.0

    def progress(self, world: World) -> float:
        """Share of the subgoals that hold."""
        held = self._subgoals(world)
        return sum(held) / len(held)

    def _subgoals(self, world: World) -> Sequence[bool]:
        """Of the object that is furthest; of the best two for `pick_two_obj_and_place`."""
        things = [each for each in _everything(world) if kind_of(each) == self.thing]
        placed = [each for each in things if self._is_placed(world, each)]
        if self.kind == "pick_two_obj_and_place":
            return [len(placed) >= 1, len(placed) >= 2]
        if self.kind == "look_at_obj_in_light":
            holds = world.held is not None and kind_of(world.held) == self.thing
            return [holds, holds and world.lit() and self._has_lamp(world)]
        state = KINDS[self.kind]
        if state is None:
            return [bool(placed)]
        treated = [each for each in things if world.has(each, state)]
        return [bool(treated), bool(set(treated) & set(placed))]

    def _is_placed(self, world: World, name: str) -> bool:
        return any(
            name in inside
            for place, inside in world.contents.items()
            if kind_of(place) == self.target
        )

    def _has_lamp(self, world: World) -> bool:
        assert world.place is not None
        return any(
            kind_of(each) == self.target and world.has(each, "on")
            for each in world.contents[world.place]
        )


KINDS: Mapping[str, str | None] = {
    "pick_and_place_simple": None,
    "look_at_obj_in_light": None,
    "pick_clean_then_place_in_recep": "clean",
    "pick_heat_then_place_in_recep": "hot",
    "pick_cool_then_place_in_recep": "cool",
    "pick_two_obj_and_place": None,
}
"""Kind: state that the object has to be in."""

_TEXTS = {
    "pick_and_place_simple": "put some {0} on {1}.",
    "look_at_obj_in_light": "look at {0} under the {1}.",
    "pick_clean_then_place_in_recep": "clean some {0} and put it in {1}.",
    "pick_heat_then_place_in_recep": "heat some {0} and put it in {1}.",
    "pick_cool_then_place_in_recep": "cool some {0} and put it in {1}.",
    "pick_two_obj_and_place": "find two {0} and put them in {1}.",
}
_TREATMENTS = {
    "clean": ("clean", "sinkbasin"),
    "hot": ("heat", "microwave"),
    "cool": ("cool", "fridge"),
}


def plan(goal: Goal, contents: Mapping[str, Sequence[str]]) -> list[str]:
    """Actions that do the chore, by somebody who knows where everything is.

    Raises:
        StopIteration: it cannot be done in this world.
    """
    world = World.of(contents)
    steps: list[str] = []

    def do(action: str) -> None:
        steps.append(action)
        world.act(action)

    for _ in range(2 if goal.kind == "pick_two_obj_and_place" else 1):
        name, place = _find(
            world, lambda each, at: kind_of(each) == goal.thing and kind_of(at) != goal.target
        )
        _reach(world, place, do)
        do(f"take {name} from {place}")
        if goal.kind == "look_at_obj_in_light":
            lamp, place = _find(world, lambda each, _: kind_of(each) == goal.target)
            _reach(world, place, do)
            do(f"use {lamp}")
            return steps
        state = KINDS[goal.kind]
        if state is not None:
            verb, device = _TREATMENTS[state]
            at = next(each for each in world.contents if kind_of(each) == device)
            do(f"go to {at}")
            do(f"{verb} {name} with {at}")
        target = next(each for each in world.contents if kind_of(each) == goal.target)
        _reach(world, target, do)
        do(f"put {name} in/on {target}")
    return steps


def _reach(world: World, place: str, do: Callable[[str], None]) -> None:
    if world.place != place:
        do(f"go to {place}")
    if kind_of(place) in OPENABLE and not world.is_open(place):
        do(f"open {place}")


def _find(world: World, is_wanted: Callable[[str, str], bool]) -> tuple[str, str]:
    return next(
        (each, place)
        for place, inside in world.contents.items()
        for each in inside
        if is_wanted(each, place)
    )


def _everything(world: World) -> list[str]:
    found = [each for inside in world.contents.values() for each in inside]
    return found if world.held is None else [*found, world.held]
