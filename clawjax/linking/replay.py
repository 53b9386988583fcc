"""The same decisions again, from what a turn log holds: to check them, or to try other rules.

A log holds requests that something was sampled for. Those that were refused left nothing; the only
thing they can have changed, whether a reply had arrived, is known from which turns were superseded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Set
from typing import NamedTuple, Protocol

from clawjax.config import LinkingConfig
from clawjax.linking.linker import LinkDecision, Linker, note
from clawjax.linking.reading import asked_for
from clawjax.linking.tree import Tree
from clawjax.records import Link, Turn, TurnKind

__all__ = ["Logged", "Replayed", "replay"]


class Replayed(NamedTuple):
    """A turn, how it was placed when it was live, and how it is placed now."""

    turn: Turn
    live: Link
    now: Link


class _Event(NamedTuple):
    """Sorts by time; at the same time, in the order of logging, requests before their turns.

    A turn ends no earlier than its request arrived, also where the clock went back.
    """

    at: float
    number: int
    is_end: bool


class Logged(Protocol):
    """Turns in order of logging, and how they were placed.

    They are gone through once, and then asked for by their numbers, once or twice each.
    """

    def __iter__(self) -> Iterator[tuple[Turn, Link]]:
        """All of them."""
        ...

    def __getitem__(self, number: int, /) -> tuple[Turn, Link]:
        """One that was gone through."""
        ...


def replay(
    logged: Logged,
    superseded: Set[str],
    config: LinkingConfig,
    *,
    default_kind: TurnKind = TurnKind.MAIN,
) -> Iterator[Replayed]:
    """Place every request again, in the order of arrival, beside the turns that had ended by then.

    Args:
        logged: turns and how they were placed; none is held here longer than it is needed.
        superseded: turns that were dropped as `retried`.
        config: the rules.
        default_kind: what a request is that no rule says anything about.
    """
    linker = Linker(Tree(), config, default_kind=default_kind)
    placements: dict[str, LinkDecision] = {}
    choices: Counter[str] = Counter()
    for event in sorted(_events(logged, choices)):
        turn, link = logged[event.number]
        if not event.is_end:
            placement = linker.place(asked_for(turn, link))
            note(placement)
            placements[turn.response_id] = placement
            continue
        placement = placements[turn.response_id]
        node = linker.add(turn, link, placement.reading).node
        node.is_delivered = turn.turn_id not in superseded
        node.has_arrived = node.is_delivered
        choices[turn.response_id] -= 1
        if not choices[turn.response_id]:
            del placements[turn.response_id]
        yield Replayed(turn, link, placement.link(turn.turn_id))


def _events(logged: Logged, choices: Counter[str]) -> Iterator[_Event]:
    """One arrival per request, whose choices share an id and are counted, and one end per turn."""
    for number, (turn, _) in enumerate(logged):
        choices[turn.response_id] += 1
        if choices[turn.response_id] == 1:
            yield _Event(turn.arrived_at, number, is_end=False)
        yield _Event(max(turn.finished_at, turn.arrived_at), number, is_end=True)
