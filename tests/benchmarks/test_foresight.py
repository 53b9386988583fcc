"""What the benchmark of foresight makes of features and labels."""

from __future__ import annotations

import numpy as np
from foresight import area, goals, predicted

from clawjax.learner.style_features import STYLE_FEATURES

SAID = ["Fine by me."] * 192


def test_area_counts_pairs_in_order_and_half_of_the_ties() -> None:
    is_met = np.array([True, True, False, False])
    assert area(np.array([4.0, 3.0, 2.0, 1.0]), is_met) == 1.0
    assert area(np.array([1.0, 3.0, 2.0, 1.0]), is_met) == 0.625  # two, half a one, none
    assert area(np.ones(4), is_met) == 0.5
    assert area(np.ones(4), np.ones(4, bool)) is None


def test_a_wish_that_shows_is_foreseen_and_chance_is_not() -> None:
    rng = np.random.default_rng(1)
    found = tuple(rng.normal(size=(192, width)) for width in (60, 30, len(STYLE_FEATURES)))
    is_met = rng.random(192) < 0.4
    by_chance = predicted(found, is_met, SAID, 1.0)
    assert all(abs(row["auc"] - 0.5) < 0.1 and row["step"] < 0.1 for row in by_chance)
    found[2][:, :10] += np.where(is_met, 1.0, -1.0)[:, None]
    shown = predicted(found, is_met, SAID, 1.0)
    assert all(row["auc"] > 0.9 for row in shown)
    assert all(row["foresight"] > 0.5 and row["step"] > 0.3 for row in shown)
    assert all(row["without_states"] > 0.9 and row["without_surface"] > 0.9 for row in shown)
    assert all(abs(row["without_manner"] - 0.5) < 0.1 for row in shown)
    assert all(row["without_words"] == row["auc"] for row in shown), "nothing was named"
    assert [goal.met for goal in goals(shown)] == [True, True]
    assert [goal.met for goal in goals(by_chance)] == [False, goals(by_chance)[1].value <= 0.1]


def test_a_single_habit_is_foreseen_sooner_where_it_is_named() -> None:
    rng = np.random.default_rng(2)
    found = tuple(rng.normal(size=(192, width)) for width in (60, 30, len(STYLE_FEATURES)))
    is_met = rng.random(192) < 0.4
    found[2][:, [*STYLE_FEATURES].index("list")] += np.where(is_met, -1.0, 1.0)
    first, *_ = predicted(found, is_met, ["Why is that a list?"] * 192, 1.0)
    assert first["auc"] > first["without_words"] + 0.1
