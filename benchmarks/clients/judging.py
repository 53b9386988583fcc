"""Whether the turn log says of a client's conversations what the script says. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from clawjax.records import JudgedTurn, Link, TurnKind
from clients.script import SIDE, Moment, Script

__all__ = ["Seen", "Served", "judge"]


@dataclass(frozen=True, slots=True)
class Served:
    """A request as the engine saw it, whatever the log says."""

    moment: Moment
    prompt_ids: tuple[int, ...]
    drawn: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Seen:
    """What happened while a client was talking."""

    script: Script
    served: dict[str, Served] = field(default_factory=dict)
    """By the request's id, which is the turn's."""
    refused: set[Moment] = field(default_factory=set)
    cut: set[Moment] = field(default_factory=set)
    """Answers that have broken off."""
    strangers: list[str] = field(default_factory=list)
    """Requests that are not in the script."""
    output: str = ""
    """Whatever the client showed."""
    trouble: str | None = None
    """Of its commands."""


def judge(seen: Seen, logged: Sequence[JudgedTurn], links: Mapping[str, Link]) -> dict[str, Any]:
    """The counts of a client, whether all is well, and what is not."""
    turns = [_Logged(seen, one, links[one.turn.turn_id]) for one in logged]
    main = [turn for turn in turns if turn.moment != SIDE]
    troubles = list(_troubles(seen, turns))
    return {
        "turns": len(main),
        "linked_right": sum(turn.is_linked_right() for turn in main),
        "sides": len(turns) - len(main),
        "side_right": all(turn.is_kind_right() for turn in turns),
        "retries_doubled": len(main) - len({turn.moment for turn in main}),
        "links": dict(Counter(turn.link.kind.value for turn in main)),
        "keys": sorted({turn.link.origin.key_source or "none" for turn in main}),
        "ok": not troubles,
        "reason": "; ".join(troubles),
    }


@dataclass(frozen=True, slots=True)
class _Logged:
    """A turn of the log, beside what was really asked and said."""

    seen: Seen
    judged: JudgedTurn
    link: Link

    @property
    def moment(self) -> Moment:
        return self.seen.served[self.judged.turn.turn_id].moment

    @property
    def before(self) -> Moment | None:
        """The reply that the log has it go on from."""
        parent = self.judged.turn.parent_turn_id
        return None if parent is None else self.seen.served[parent].moment

    def is_linked_right(self) -> bool:
        """It goes on from the right reply, and what came after it is what the script has there."""
        script = self.seen.script
        if self.before != script.before(self.moment):
            return False
        mark = script.reaction_to(self.moment)
        reactions = [m.content for state in self.judged.next_states for m in state.messages]
        return not reactions if mark is None else any(mark in text for text in reactions)

    def is_kind_right(self) -> bool:
        return (self.judged.turn.kind is TurnKind.SIDE) == (self.moment == SIDE)

    def is_exact(self) -> bool:
        """Its ids are those that the engine was given and those that it drew."""
        turn, served = self.judged.turn, self.seen.served[self.judged.turn.turn_id]
        return turn.prompt_ids == served.prompt_ids and turn.response_ids == tuple(served.drawn)

    def troubles(self) -> Iterator[str]:
        name = self.moment.name
        if self.moment != SIDE and not self.is_linked_right():
            behind = "nothing" if self.before is None else self.before.name
            states = len(self.judged.next_states)
            reason = f"{self.link.kind}: {self.link.reason}"
            yield f"{name} goes on from {behind} ({reason}) and has {states} next states"
        if not self.is_kind_right():
            yield f"{name} is {self.judged.turn.kind} ({self.link.turn_kind_reason})"
        if not self.is_exact():
            yield f"{name} is logged with other ids than were drawn"


def _troubles(seen: Seen, turns: Sequence[_Logged]) -> Iterator[str]:
    script = seen.script
    if seen.trouble is not None:
        yield seen.trouble
    yield from (f"not in the script: {stranger}" for stranger in seen.strangers)
    yield from (f"the answer {mark} did not arrive" for mark in script.unanswered(seen.output))
    said = Counter(turn.moment for turn in turns)
    for moment in script.expected():
        if said[moment] != 1:
            yield f"{moment.name} was logged {said[moment]} times"
        if script.is_refused(moment) and moment not in seen.refused:
            yield f"{moment.name} was never refused"
    if said[SIDE] < script.recipe.least_sides:
        yield f"{said[SIDE]} requests of its own, the recipe has {script.recipe.least_sides}"
    for turn in turns:
        yield from turn.troubles()
    yield from _mixed_up([turn for turn in turns if turn.moment != SIDE])


def _mixed_up(main: Sequence[_Logged]) -> Iterator[str]:
    """Where conversations and sessions are not one to one."""
    pairs = {(turn.moment.conversation, turn.judged.turn.session_id) for turn in main}
    conversations = Counter(conversation for conversation, _ in pairs)
    sessions = Counter(session for _, session in pairs)
    yield from (f"{name} is {n} sessions" for name, n in conversations.items() if n > 1)
    yield from (f"a session has {n} conversations" for n in sessions.values() if n > 1)
