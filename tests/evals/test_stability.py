"""Three sessions in a row, by learning and by chance."""

from __future__ import annotations

import random

import pytest

from clawjax.evals.stability import sessions_by_chance, sessions_to_stable


def first(session: int, style: float) -> dict[str, float]:
    return {"session": session, "turn": 0, "style": style}


def test_a_stable_effect_is_three_sessions_in_a_row() -> None:
    later = {"session": 0, "turn": 1, "style": 0.0}
    met = [first(0, 1.0), later, first(1, 1.0), first(2, 0.0), *(first(n, 1.0) for n in (3, 4, 5))]
    assert sessions_to_stable(met) == 6
    assert sessions_to_stable(met[:-1]) is None


def test_chance_takes_as_long_as_a_fair_coin_and_no_time_where_it_cannot_miss() -> None:
    assert sessions_by_chance(0.5) == pytest.approx(14.0)  # (1 - 1/8) / (1/2 * 1/8)
    assert sessions_by_chance(1.0) == pytest.approx(3.0)
    assert sessions_by_chance(0.0) is None


def test_chance_is_what_the_count_is_on_average_of_a_policy_that_never_learns() -> None:
    rng, share = random.Random(0), 0.6
    counts = [
        sessions_to_stable([first(n, float(rng.random() < share)) for n in range(200)])
        for _ in range(3000)
    ]
    known = [count for count in counts if count is not None]
    assert len(known) == len(counts)
    assert sum(known) / len(known) == pytest.approx(sessions_by_chance(share), rel=0.04)
