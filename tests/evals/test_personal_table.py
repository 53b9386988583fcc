"""The suite's table: means over seeds, gaps where a trial is missing."""

from __future__ import annotations

from typing import Any

import pytest

from clawjax.evals.personal_table import render_table


def result(method: str, seed: int, score: float, **training: Any) -> dict[str, Any]:
    trained = {"sessions_to_stable": None, "trained": 96, "judge": None} | training
    return {
        "persona": "brief",
        "method": method,
        "seed": seed,
        "style": {
            "style_score": score,
            "scores": [1.0, 0.0],
            "mean_words": 50.0,
            "short_share": 0.0,
            "identical_share": 0.0,
            "distinct2": 0.8,
        },
        "retention": {"kl_per_token": 0.1, "nll_per_token": 2.0, "accuracy": {"value": 0.5}},
        "training": None if method == "base" else trained,
        "seconds": 120.0,
    }


def cells(table: str, method: str) -> list[str]:
    row = next(line for line in table.splitlines() if line.startswith(f"| {method}"))
    return [cell.strip() for cell in row.split("|")[1:-1]]


def test_gains_are_against_the_base_of_the_same_seed() -> None:
    table = render_table(
        [
            result("base", 0, 0.2),
            result("base", 1, 0.4),
            result("combined", 0, 0.9, sessions_to_stable=10),
            result("combined", 1, 0.8),
        ]
    )
    row = cells(table, "combined")
    assert row[1:5] == ["2", "0.85 (0.80 to 0.90)", "0.00 to 1.00", "+0.55 (+0.40 to +0.70)"]
    assert "10, 1 never" in row
    assert row[-1] == "2.0"


def test_without_a_base_there_is_no_gain() -> None:
    row = cells(render_table([result("opd", 0, 1.0)]), "opd")
    assert row[0] == "opd"
    assert row[4] == ""
    assert "never" in row


@pytest.mark.parametrize(
    ("field", "value"), [("short_share", 0.03), ("identical_share", 0.03), ("distinct2", 0.5)]
)
def test_a_policy_that_says_nothing_or_the_same_is_marked(field: str, value: float) -> None:
    lost = result("opd", 0, 1.0)
    lost["style"][field] = value
    table = render_table([result("base", 0, 0.2), lost])
    assert cells(table, "opd")[0] == "opd (degenerate)"
    assert cells(table, "base")[0] == "base"
