"""How soon feedback is felt: turns from a reaction arriving to the first reply that knows of it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from statistics import median
from typing import NamedTuple

from clawjax.records import JudgedTurn, NextStateKind, Outcome, TurnKind
from clawjax.weights import Lineage

__all__ = ["FeedbackLatency", "Wait", "feedback_arrival", "feedback_to_served", "served_waits"]


class FeedbackLatency(NamedTuple):
    """Distribution over trained turns; None where none of them was served yet."""

    median: float | None
    max: int | None
    n: int
    """Trained turns whose version has answered a main request."""
    unserved: int
    """Trained turns whose version has not, e.g. as it was refused."""


class Wait(NamedTuple):
    """From feedback to the first reply that knows of it."""

    turns: int
    """Main turns that the feedback came too late for."""
    seconds: float
    """Until the request for that reply arrived."""


def feedback_to_served(
    turns: Sequence[JudgedTurn], outcomes: Mapping[str, Outcome], lineage: Lineage
) -> FeedbackLatency:
    """Summarise `served_waits`."""
    waits = served_waits(turns, outcomes, lineage)
    counts = [wait.turns for wait in waits.values() if wait is not None]
    return FeedbackLatency(
        median=float(median(counts)) if counts else None,
        max=max(counts, default=None),
        n=len(counts),
        unserved=len(waits) - len(counts),
    )


def served_waits(
    turns: Sequence[JudgedTurn], outcomes: Mapping[str, Outcome], lineage: Lineage
) -> dict[str, Wait | None]:
    """For each trained turn, by its id, the main turns that its feedback came too late for.

    Counted are main turns whose request arrived at or after the feedback did, up to and without
    the first reply whose first token was sampled by a version trained on it, itself or through
    those it descends from. The request that carries the feedback is itself counted: it was
    answered without having learnt from it. None where there is no such reply.
    """
    main = sorted(
        (judged.turn for judged in turns if judged.turn.kind is TurnKind.MAIN),
        key=lambda turn: turn.arrived_at,
    )
    arrivals = [turn.arrived_at for turn in main]
    versions = [turn.token_versions[0].version if turn.token_versions else -1 for turn in main]
    waits: dict[str, Wait | None] = {}
    for judged in turns:
        outcome = outcomes.get(judged.turn.turn_id)
        arrived = feedback_arrival(judged)
        if outcome is None or outcome.trained_version is None or arrived is None:
            continue
        begin = bisect_left(arrivals, arrived)
        wanted = outcome.trained_version
        later = range(begin, len(main))
        served = next((i for i in later if lineage.descends(versions[i], wanted)), None)
        waits[judged.turn.turn_id] = (
            None if served is None else Wait(served - begin, arrivals[served] - arrived)
        )
    return waits


def feedback_arrival(judged: JudgedTurn) -> float | None:
    """When the first thing that can carry a judgement arrived; None where nothing did."""
    return min(
        (
            state.arrived_at
            for state in judged.next_states
            if state.kind is not NextStateKind.SESSION_CLOSED
        ),
        default=None,
    )
