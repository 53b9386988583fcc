"""Rows of the personal suite: paired gains, intervals, and gaps where nothing was measured."""

from __future__ import annotations

from typing import Any

import pytest
from trial_results import trial

from clawjax.evals.personal_summary import (
    interval_of_lead,
    method_rows,
    persona_rows,
    trial_rows,
)


def of(rows: list[dict[str, Any]], method: str) -> dict[str, Any]:
    return next(row for row in rows if row["method"] == method)


def test_a_trial_is_beside_the_base_of_its_seed() -> None:
    rows = trial_rows(
        [trial("base", 0, [0.25]), trial("base", 1, [0.75]), trial("combined", 1, [1.0])]
    )
    row = of(rows, "combined")
    assert (row["style_score"], row["gain"]) == (1.0, 0.25)
    assert (row["nll_increase"], row["accuracy_change"]) == (0.25, -0.0625)
    assert row["distinct2_over_base"] == 1.0
    assert row["training"]["lost"] == 0
    assert row["training"]["turns_by_round"] == [16, 25]
    assert [sample["prompt"] for sample in row["samples"]] == ["Question 0?", "Question 1?"]


def test_what_was_not_measured_is_none() -> None:
    (row,) = trial_rows([trial("combined")])
    for compared in ("gain", "nll_increase", "accuracy_change", "distinct2_over_base"):
        assert row[compared] is None
    older = trial("combined", judge=None)
    del older["training"]["lost"], older["training"]["turns_by_round"]
    (row,) = trial_rows([older])
    assert row["training"]["lost"] is None
    assert row["training"]["turns_by_round"] is None
    assert row["training"]["judge_agreement"] is None
    assert method_rows([trial("combined")]) == []


def test_beside_the_sessions_stands_what_the_base_of_that_seed_would_take_by_chance() -> None:
    rows = trial_rows(
        [
            *(trial("base", seed, met) for seed, met in enumerate([[1.0, 0.0], [0.0], [0.5, 1.0]])),
            *(trial("combined", seed, sessions_to_stable=9) for seed in range(4)),
        ]
    )
    chances = [row["training"]["sessions_by_chance"] for row in rows if row["training"]]
    assert chances == [14.0, None, 14.0, None], "half of a wish met is not a wish met"
    (_, combined) = persona_rows([trial("base", 0), trial("combined", 0)])
    assert combined["sessions_by_chance"] == [14.0]


def test_a_persona_is_the_mean_of_its_seeds_and_the_interval_is_of_seeds_first() -> None:
    rows = persona_rows(
        [
            trial("base", 0, [0.0] * 50),
            trial("combined", 0, [1.0] * 50, sessions_to_stable=9),
            trial("combined", 1, [0.0] * 50),
        ]
    )
    row = of(rows, "combined")
    assert (row["seeds"], row["style_score"]) == ([0, 1], 0.5)
    assert row["gains"] == [1.0, None]
    assert row["gain"] == 1.0
    assert row["sessions_to_stable"] == [9, None]
    assert row["ci"] == (0.0, 1.0), "a hundred replies of two seeds are not a hundred seeds"
    (alone,) = persona_rows([trial("opd", 0, [1.0] * 50 + [0.0] * 50)])
    low, high = alone["ci"]
    assert low == pytest.approx(0.4, abs=0.03)
    assert high == pytest.approx(0.6, abs=0.03)


def test_methods_are_compared_where_both_were_measured() -> None:
    rows = method_rows(
        [
            *(trial("base", seed, [0.0], persona=p) for p in ("asks", "brief") for seed in (0, 1)),
            trial("combined", 0, [1.0], persona="asks"),
            trial("combined", 1, [0.5], persona="asks"),
            trial("combined", 0, [0.25], persona="brief"),
            trial("opd", 1, [0.25], persona="asks"),
            trial("sft", 1, [0.25], persona="brief"),
        ]
    )
    assert [row["method"] for row in rows] == ["combined", "opd", "sft"]
    combined, opd, sft = rows
    assert combined["gain"] == pytest.approx((0.75 + 0.25) / 2)
    assert (combined["personas"], combined["trials"], combined["lead"]) == (2, 3, None)
    assert (opd["lead"], opd["shared"]) == (0.25, 1)
    assert opd["gain_ci"] is None, "one trial says nothing of how trials vary"
    assert opd["lead_ci"] is None
    assert (sft["lead"], sft["shared"], sft["lead_ci"]) == (None, 0, None)
    assert [row["is_placed"] for row in rows] == [True, False, False]
    assert opd["objective"] == "Objective opd"


def over(method: str, *gains: float) -> list[dict[str, Any]]:
    """A trial of each persona, all of seed 0, whose base never meets the wish."""
    return [trial(method, 0, [gain], persona=f"user{i}") for i, gain in enumerate(gains)]


def test_methods_are_placed_by_who_is_ahead_where_both_were_measured() -> None:
    rows = method_rows(
        [
            *over("base", 0.0, 0.0, 0.0, 0.0),
            *over("combined", 1.0, 0.75, 0.75, 0.0),
            *over("sft", 1.0),
            *over("binary_rl", 0.75, 0.75, 0.5),
            *over("opd", 0.5, 0.5, 0.5, 0.5),
        ]
    )
    assert [row["method"] for row in rows] == ["combined", "opd", "binary_rl", "sft"]
    assert [row["is_placed"] for row in rows] == [True, True, True, False]
    combined, opd, binary_rl, sft = rows
    assert sft["gain"] > combined["gain"], "over another user alone"
    assert (opd["shared"], opd["lead"]) == (4, 0.125)
    assert (binary_rl["shared"], binary_rl["lead"]) == (3, pytest.approx(1 / 6))
    assert combined["over_next"] == opd["lead"]
    assert opd["over_next"] == pytest.approx(-1 / 6), "of the three that both were measured on"
    low, high = opd["over_next_ci"]
    assert low < opd["over_next"] < high
    assert (binary_rl["over_next"], sft["over_next"]) == (None, None)


def test_a_lead_is_settled_only_where_all_of_them_hold_at_once() -> None:
    leads = [[0.1], [0.2], [0.0], [0.3]]
    alone, among = interval_of_lead(leads, among=1), interval_of_lead(leads, among=4)
    assert alone == pytest.approx((0.15 - 0.20542, 0.15 + 0.20542), abs=1e-4)  # 3.1824 * .0645
    assert among[0] < alone[0] < alone[1] < among[1]
    assert interval_of_lead([[0.03, 0.09, 0.03]], among=1) == pytest.approx(
        (-0.036, 0.136), abs=1e-3
    )
    assert interval_of_lead([[0.1]], among=1) is interval_of_lead([], among=1) is None


def test_without_the_method_that_others_are_compared_with_none_is_placed() -> None:
    rows = method_rows([*over("base", 0.0, 0.0, 0.0), *over("opd", 0.5, 0.5, 0.5)])
    assert [(row["lead"], row["is_placed"]) for row in rows] == [(None, False)]
