"""The definition of `feedback_to_served_turns`, by hand."""

from __future__ import annotations

from pathlib import Path

from eval_records import turn
from hypothesis import given
from hypothesis import strategies as st

from clawjax.evals.latency import Wait, feedback_to_served, served_waits
from clawjax.protocols import WeightVersion
from clawjax.records import JudgedTurn, NextState, NextStateKind, Outcome, Turn, TurnKind
from clawjax.weights import Lineage


def judged(
    made: Turn, reaction_at: float | None = None, kind: NextStateKind = NextStateKind.USER
) -> JudgedTurn:
    states = () if reaction_at is None else (NextState(made.turn_id, kind, reaction_at),)
    return JudgedTurn(int(made.arrived_at), made, states, ())


def trained(number: int, version: int) -> dict[str, Outcome]:
    return {f"t{number}": Outcome(f"t{number}", 0.0, trained_version=version)}


def test_the_turns_in_between_are_counted_with_the_one_that_carried_the_feedback() -> None:
    turns = [judged(turn(0), reaction_at=1.0), *(judged(turn(n)) for n in (1, 2, 3))]
    turns.append(judged(turn(4, version=1)))
    assert feedback_to_served(turns, trained(0, 1), Lineage()) == (3.0, 3, 1, 0)


def test_seconds_are_counted_up_to_the_request_that_is_answered_by_it() -> None:
    turns = [judged(turn(0), reaction_at=1.0), judged(turn(1), reaction_at=1.75), judged(turn(2))]
    turns.append(judged(turn(3, version=1)))
    found = served_waits(turns, trained(0, 1) | trained(1, 2), Lineage())
    assert found == {"t0": Wait(turns=2, seconds=2.0), "t1": None}


def test_feedback_between_two_requests_counts_later_requests_only() -> None:
    turns = [judged(turn(0), reaction_at=1.5), judged(turn(1)), judged(turn(2, version=1))]
    assert feedback_to_served(turns, trained(0, 1), Lineage()) == (0.0, 0, 1, 0)


def test_a_newer_version_than_the_one_trained_counts_too() -> None:
    turns = [judged(turn(0), reaction_at=1.0), judged(turn(1)), judged(turn(2, version=3))]
    assert feedback_to_served(turns, trained(0, 2), Lineage()).max == 1


def test_a_newer_version_that_does_not_descend_from_it_does_not_count() -> None:
    tree = Lineage.of(
        WeightVersion(version, Path(), parent, version, "m", "adapter")
        for version, parent in ((1, 0), (2, 1), (3, 1), (4, 3))
    )
    turns = [judged(turn(0), reaction_at=1.0), judged(turn(1, version=3))]
    turns.append(judged(turn(2, version=4)))
    assert feedback_to_served(turns, trained(0, 2), tree) == (None, None, 0, 1)
    assert feedback_to_served(turns, trained(0, 1), tree) == (0.0, 0, 1, 0)


def test_side_turns_neither_count_nor_serve() -> None:
    side = turn(2, version=1, kind=TurnKind.SIDE)
    turns = [judged(turn(0), reaction_at=1.0), judged(turn(1)), judged(side)]
    assert feedback_to_served(turns, trained(0, 1), Lineage()) == (None, None, 0, 1)


def test_a_closed_session_is_no_feedback() -> None:
    closed = judged(turn(0), 1.0, NextStateKind.SESSION_CLOSED)
    assert feedback_to_served([closed], trained(0, 1), Lineage()) == (None, None, 0, 0)


def test_dropped_and_pending_turns_do_not_count() -> None:
    turns = [judged(turn(0), reaction_at=1.0), judged(turn(1, version=1))]
    assert feedback_to_served(turns, {}, Lineage()).n == 0


@given(st.permutations(range(6)))
def test_the_order_of_logging_does_not_matter(order: list[int]) -> None:
    turns = [judged(turn(n, version=n // 4), reaction_at=n + 0.9) for n in range(6)]
    outcomes = trained(0, 1) | trained(1, 1)
    expected = feedback_to_served(turns, outcomes, Lineage())
    assert feedback_to_served([turns[i] for i in order], outcomes, Lineage()) == expected
    assert expected == (2.5, 3, 2, 0)
