"""Whether the turn log says of a client's conversations what the script says. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from clients.engine import ScriptedEngine
from clients.script import SIDE, Script

from clawjax.records import JudgedTurn, Link, TurnKind

__all__ = ["judged"]

Row = dict[str, Any]


def judged(
    engine: ScriptedEngine,
    logged: Sequence[JudgedTurn],
    links: Mapping[str, Link],
    *,
    output: str,
    trouble: str | None,
) -> Row:
    """The counts of a client, whether all is well, and what is not.

    Args:
        engine: what was really asked and said.
        logged: the turn log.
        links: how its turns were placed.
        output: what the client showed.
        trouble: of its commands.
    """
    script, moments = engine.script, engine.moments
    main = [one for one in logged if moments[one.turn.turn_id] is not SIDE]
    said = Counter(moments[one.turn.turn_id] for one in main)
    sides = len(logged) - len(main)
    right = sum(_is_linked_right(one, engine) for one in main)
    misjudged = [one for one in logged if not _is_judged_right(one, engine)]
    doubled = sum(count - 1 for count in said.values())
    troubles = [
        *([] if trouble is None else [trouble]),
        *[f"not in the script: {stranger}" for stranger in engine.strangers],
        *[f"the answer {mark} did not arrive" for mark in script.unanswered(output)],
        *[f"{_name(m)} was not logged" for m in script.expected() if m not in said],
        *[f"{_name(m)} was logged {n} times" for m, n in said.items() if n > 1],
        *[_placed(one, links, engine) for one in main if not _is_linked_right(one, engine)],
        *[f"{_name(moments[t.turn_id])} is {t.kind}" for t, *_ in map(_parts, misjudged)],
        *[f"{one.turn.turn_id} is not what was drawn" for one in logged if not _is_exact(one, engine)],
        *_unlike(script, engine, sides),
    ]
    return {
        "turns": len(main),
        "linked_right": right,
        "sides": sides,
        "side_right": not misjudged,
        "retries_doubled": doubled,
        "links": dict(Counter(links[one.turn.turn_id].kind.value for one in main)),
        "keys": sorted({links[one.turn.turn_id].origin.key_source or "none" for one in main}),
        "ok": not troubles,
        "reason": "; ".join(troubles),
    }


def _parts(one: JudgedTurn) -> tuple[Any, ...]:
    return (one.turn,)


def _name(moment: tuple[str, int, bool]) -> str:
    conversation, step, is_call = moment
    return f"{conversation}{step}" + (" (call)" if is_call else "")


def _is_linked_right(one: JudgedTurn, engine: ScriptedEngine) -> bool:
    """It goes on from the right reply, and what came after it is what the script has there."""
    script, moment = engine.script, engine.moments[one.turn.turn_id]
    parent = one.turn.parent_turn_id
    found = None if parent is None else engine.moments.get(parent)
    if found != script.before(moment):
        return False
    mark = script.reaction_to(moment)
    reactions = [m.content for state in one.next_states for m in state.messages]
    return not reactions if mark is None else any(mark in text for text in reactions)


def _is_judged_right(one: JudgedTurn, engine: ScriptedEngine) -> bool:
    is_side = engine.moments[one.turn.turn_id] is SIDE
    return (one.turn.kind is TurnKind.SIDE) == is_side


def _is_exact(one: JudgedTurn, engine: ScriptedEngine) -> bool:
    """Its ids are those that the engine was given and those that it drew."""
    turn = one.turn
    is_drawn = turn.response_ids == tuple(engine.drawn[turn.turn_id])
    return is_drawn and turn.prompt_ids == engine.given[turn.turn_id]


def _placed(one: JudgedTurn, links: Mapping[str, Link], engine: ScriptedEngine) -> str:
    turn, link = one.turn, links[one.turn.turn_id]
    parent = None if turn.parent_turn_id is None else engine.moments.get(turn.parent_turn_id)
    behind = "nothing" if parent is None else _name(parent)
    return f"{_name(engine.moments[turn.turn_id])} goes on from {behind} ({link.kind}: {link.reason})"


def _unlike(script: Script, engine: ScriptedEngine, sides: int) -> Iterator[str]:
    """Where the client did not do what its recipe says."""
    recipe = script.recipe
    if sides < recipe.least_sides:
        yield f"{sides} side requests, the recipe has {recipe.least_sides}"
    refusable = {moment for moment in script.expected() if script.is_refused(moment)}
    for moment in sorted(refusable - engine.refused):
        yield f"{_name(moment)} was not asked for"
