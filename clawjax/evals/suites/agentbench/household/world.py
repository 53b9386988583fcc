"""A household in text: receptacles, objects, and ALFWorld's actions and sentences. Pure state.

Grammar and effects follow ALFWorld 0.3 (Shridhar et al. 2021, arXiv:2010.03768): an agent holds one
object, stands at one receptacle, and an action that is not admissible makes nothing happen.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["NOTHING", "OPENABLE", "World", "kind_of", "listed"]

NOTHING = "Nothing happens."

OPENABLE = {"cabinet", "drawer", "fridge", "microwave", "safe"}
_DEVICES = {"clean": "sinkbasin", "heat": "microwave", "cool": "fridge"}
"""Verb: receptacle that does it."""
_AFTER = {"clean": "clean", "heat": "hot", "cool": "cool"}
_UNDONE = {"hot": "cool", "cool": "hot"}
_LAMPS = {"desklamp", "floorlamp"}
_KNIVES = {"knife", "butterknife"}
_SLICEABLE = {"apple", "bread", "lettuce", "potato", "tomato"}


def kind_of(name: str) -> str:
    """`apple` of `apple 2`."""
    return name.rpartition(" ")[0]


def listed(names: Sequence[str]) -> str:
    """As ALFWorld enumerates: `a mug 1, a cup 2, and a pan 1`."""
    articles = [f"a {name}" for name in names]
    if not articles:
        return "nothing"
    if len(articles) == 1:
        return articles[0]
    return f"{', '.join(articles[:-1])}, and {articles[-1]}"


@dataclass(slots=True)
class World:
    """What is where."""

    contents: dict[str, list[str]]
    """Objects of each receptacle, in the order in which they are seen."""
    place: str | None = None
    """Receptacle in front of the agent; None: the middle of the room."""
    held: str | None = None
    opened: set[str] = field(default_factory=set)
    states: dict[str, set[str]] = field(default_factory=dict)
    """Of each object: `clean`, `hot`, `cool`, `sliced`, `on`."""

    @classmethod
    def of(cls, contents: Mapping[str, Iterable[str]]) -> World:
        """The beginning: everything shut, nobody has touched anything."""
        return cls({name: list(objects) for name, objects in contents.items()})

    def welcome(self) -> str:
        """What is seen on entering."""
        names = listed(list(self.contents))
        return f"You are in the middle of a room. Looking quickly around you, you see {names}."

    def admissible(self) -> list[str]:
        """All actions that do something, sorted."""
        found = ["inventory", "look"]
        found += [f"go to {name}" for name in self.contents if name != self.place]
        if self.held is not None:
            found.append(f"examine {self.held}")
        if self.place is not None:
            found += self._at(self.place)
        return sorted(found)

    def act(self, action: str) -> str:
        """Carry out an action; what is seen then."""
        if action not in self.admissible():
            return NOTHING
        verb, _, rest = action.partition(" ")
        match verb:
            case "go":
                self.place = rest.removeprefix("to ")
                return self._see(self.place)
            case "open":
                self.opened.add(rest)
                return f"You open the {rest}. {self._see(rest)}"
            case "close":
                self.opened.discard(rest)
                return f"You close the {rest}."
            case "take":
                return self._take(*rest.split(" from "))
            case "put":
                return self._put(*rest.split(" in/on "))
            case "clean" | "heat" | "cool":
                return self._treat(verb, *rest.split(" with "))
            case "slice":
                thing, knife = rest.split(" with ")
                self._mark(thing, "sliced")
                return f"You sliced the {thing} with the {knife}."
            case "use":
                return self._switch(rest)
            case "examine":
                return self._see(rest) if rest in self.contents else self._describe(rest)
            case "inventory":
                held = "not carrying anything" if self.held is None else f"carrying: a {self.held}"
                return f"You are {held}."
        if self.place is None:  # the engine names nothing on a second look
            return "You are in the middle of a room. Looking quickly around you, you see nothing."
        return f"You are facing the {self.place}. Next to it, you see nothing."

    def digest(self) -> Mapping[str, Any]:
        """All of it as JSON."""
        return {
            "contents": self.contents,
            "place": self.place,
            "held": self.held,
            "opened": sorted(self.opened),
            "states": {name: sorted(found) for name, found in self.states.items() if found},
        }

    def has(self, name: str, state: str) -> bool:
        """Whether an object is in a state."""
        return state in self.states.get(name, ())

    def lit(self) -> bool:
        """Whether a lamp is on where the agent stands."""
        if self.place is None:
            return False
        return any(
            kind_of(each) in _LAMPS and self.has(each, "on") for each in self.contents[self.place]
        )

    def is_open(self, receptacle: str) -> bool:
        """Whether one can reach into it."""
        return kind_of(receptacle) not in OPENABLE or receptacle in self.opened

    def _at(self, place: str) -> list[str]:
        kind = kind_of(place)
        found = [f"examine {place}"]
        if kind in OPENABLE:
            found.append(f"close {place}" if self.is_open(place) else f"open {place}")
        if self.held is not None:
            found += [
                f"{verb} {self.held} with {place}"
                for verb, device in _DEVICES.items()
                if device == kind
            ]
        if not self.is_open(place):
            return found
        if self.held is not None:
            found.append(f"put {self.held} in/on {place}")
            if kind_of(self.held) in _KNIVES:
                found += [
                    f"slice {each} with {self.held}"
                    for each in self.contents[place]
                    if kind_of(each) in _SLICEABLE
                ]
        else:
            found += [
                f"take {each} from {place}"
                for each in self.contents[place]
                if kind_of(each) not in _LAMPS
            ]
        return found + [f"use {each}" for each in self.contents[place] if kind_of(each) in _LAMPS]

    def _see(self, place: str) -> str:
        inside = listed(self.contents[place])
        if kind_of(place) not in OPENABLE:
            return f"On the {place}, you see {inside}."
        if not self.is_open(place):
            return f"The {place} is closed."
        return f"The {place} is open. In it, you see {inside}."

    def _take(self, name: str, place: str) -> str:
        self.contents[place].remove(name)
        self.held = name
        return f"You pick up the {name} from the {place}."

    def _put(self, name: str, place: str) -> str:
        self.contents[place].append(name)
        self.held = None
        return f"You put the {name} in/on the {place}."

    def _treat(self, verb: str, name: str, device: str) -> str:
        state = _AFTER[verb]
        self._mark(name, state)
        self.states[name].discard(_UNDONE.get(state, ""))
        return f"You {verb} the {name} using the {device}."

    def _switch(self, lamp: str) -> str:
        if self.has(lamp, "on"):
            self.states[lamp].discard("on")
            return f"You turn off the {lamp}."
        self._mark(lamp, "on")
        return f"You turn on the {lamp}."

    def _describe(self, name: str) -> str:
        found = self.states.get(name, set())
        warmth = [each for each in ("hot", "cool") if each in found]
        if warmth == ["cool"] and not {"clean", "sliced"} & found:
            return f"This is a cold {name}."
        words = " and ".join([*warmth, *(["clean"] if "clean" in found else [])])
        if not words and "sliced" not in found:
            return f"There's nothing special about {name}."
        said = " ".join(filter(None, (words, "sliced" if "sliced" in found else "", name)))
        return f"This is a {said}."

    def _mark(self, name: str, state: str) -> None:
        self.states.setdefault(name, set()).add(state)
