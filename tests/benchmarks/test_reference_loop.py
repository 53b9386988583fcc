"""The emulation of the reference's loop, by hand: a turn a second, batches of two."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from _reference_loop import Emulation, Reaction, emulate, reactions_of, waits
from hypothesis import given
from hypothesis import strategies as st
from turn_records import make_turn

from clawjax.evals.latency import Wait
from clawjax.records import JudgedTurn, NextState, NextStateKind, TurnKind


def reactions(*ready_at: float) -> list[Reaction]:
    return [Reaction(f"t{i}", at, at) for i, at in enumerate(ready_at)]


def run(found: list[Reaction], **changes: float) -> Emulation:
    settings = {"begins_at": 0.0, "batch_turns": 2, "step_s": 0.0} | changes
    return emulate(found, **settings)  # type: ignore[arg-type]


def test_weights_go_out_when_the_next_batch_is_complete() -> None:
    emulated = run(reactions(1, 2, 3, 4, 5, 6))
    assert emulated.served_at == {"t0": 4, "t1": 4, "t2": 6, "t3": 6}
    assert emulated.paused == []
    assert emulated.lost == 0


def test_a_step_longer_than_a_batch_refuses_requests_until_it_is_done() -> None:
    emulated = run(reactions(1, 2, 3, 4, 10, 11), step_s=5.0)
    assert emulated.served_at == {"t0": 7.0, "t1": 7.0, "t2": 12.0, "t3": 12.0}
    assert emulated.paused == [(4, 7.0), (11, 12.0)]
    assert emulated.refused([3.9, 4.0, 6.9, 7.0, 11.5]) == 3


def test_sending_weights_refuses_requests_as_well() -> None:
    emulated = run(reactions(1, 2, 3, 4), update_s=0.5)
    assert emulated.served_at == {"t0": 4.5, "t1": 4.5}
    assert emulated.paused == [(4, 4.5)]


def test_what_waits_beyond_a_batch_is_forgotten() -> None:
    emulated = run(reactions(1, 2, 3, 4, 5, 6, 6.5, 9, 10), step_s=5.0)
    # Weights of t0, t1 are out at 7, where t4, t5 and t6 wait: t6 is forgotten, t4 and t5 are a
    # complete batch at once.
    assert emulated.lost == 1
    assert emulated.served_at == {
        "t0": 7.0,
        "t1": 7.0,
        "t2": 12.0,
        "t3": 12.0,
        "t4": 17.0,
        "t5": 17.0,
    }


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_the_end_of_the_traffic_serves_nothing_more(count: int) -> None:
    emulated = run(reactions(*range(1, count + 1)))
    assert (emulated.served_at, emulated.paused, emulated.lost) == ({}, [], 0)


@given(st.integers(1, 8), st.integers(0, 60))
def test_with_a_turn_a_second_the_wait_is_one_to_two_batches(size: int, count: int) -> None:
    found = reactions(*range(count))
    emulated = run(found, batch_turns=size, begins_at=-1.0)
    arrivals = [reaction.arrived_at for reaction in found]
    for number, reaction in enumerate(found):
        wait = waits(emulated, found, arrivals)[reaction.turn_id]
        batches_to_come = count // size - number // size - 1
        assert (wait is None) == (batches_to_come < 1)
        if wait is not None:
            assert wait.turns == 2 * size - number % size - 1
            assert size <= wait.turns < 2 * size


def test_turns_are_counted_as_they_are_of_real_loops() -> None:
    found = [Reaction("t0", 1.0, 1.6), Reaction("t1", 2.0, 2.6)]
    emulated = Emulation({"t0": 3.0}, [], 0)
    assert waits(emulated, found, [0.0, 1.0, 2.0, 3.0]) == {"t0": Wait(2, 2.0), "t1": None}
    assert waits(emulated, found, [0.0, 1.0, 2.0]) == {"t0": None, "t1": None}


@pytest.fixture
def judged() -> Callable[..., JudgedTurn]:
    """Turn `number`, of which the reply to `parent` is one, with what came after it."""

    def make(
        number: int,
        *states: NextState,
        parent: int | None = None,
        kind: TurnKind = TurnKind.MAIN,
    ) -> JudgedTurn:
        turn = make_turn(
            turn_id=f"t{number}",
            parent_turn_id=None if parent is None else f"t{parent}",
            arrived_at=float(number),
            finished_at=number + 0.5,
            kind=kind,
        )
        return JudgedTurn(number, turn, states, ())

    return make


def state(number: int, kind: NextStateKind, at: float) -> NextState:
    return NextState(f"t{number}", kind, at)


def test_a_reaction_is_a_sample_once_the_reply_to_it_is_complete(judged) -> None:
    turns = [
        judged(0, state(0, NextStateKind.USER, 1.0)),
        judged(1, state(1, NextStateKind.FEEDBACK, 1.75), parent=0),
        judged(2),
        judged(3, state(3, NextStateKind.USER, 4.0), kind=TurnKind.SIDE),
    ]
    assert reactions_of(turns, takes_feedback=False) == [Reaction("t0", 1.0, 1.5)]
    assert reactions_of(turns, takes_feedback=True) == [
        Reaction("t0", 1.0, 1.5),
        Reaction("t1", 1.75, 1.75),
    ]


def test_samples_are_ordered_by_when_they_are_ready(judged) -> None:
    turns = [
        judged(0, state(0, NextStateKind.USER, 9.0)),
        judged(1, state(1, NextStateKind.USER, 2.0)),
        judged(9, parent=0),
        judged(2, parent=1),
    ]
    found = reactions_of(turns, takes_feedback=False)
    assert [reaction.turn_id for reaction in found] == ["t1", "t0"]
