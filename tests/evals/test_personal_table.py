"""The suite's table: means over seeds, gaps where a trial is missing."""

from __future__ import annotations

from typing import Any

from clawjax.evals.personal_table import render_table


def result(method: str, seed: int, score: float, **training: Any) -> dict[str, Any]:
    trained = {"sessions_to_stable": None, "trained": 96, "judge": None} | training
    return {
        "persona": "brief",
        "method": method,
        "seed": seed,
        "style": {"style_score": score, "mean_words": 50.0, "is_degenerate": False},
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
    assert row[1:4] == ["2", "0.85 (0.80 to 0.90)", "+0.55 (+0.40 to +0.70)"]
    assert "10, 1 never" in row
    assert row[-1] == "2.0"


def test_without_a_base_there_is_no_gain_and_a_degenerate_policy_is_marked() -> None:
    lost = result("opd", 0, 1.0)
    lost["style"]["is_degenerate"] = True
    row = cells(render_table([lost]), "opd")
    assert row[0] == "opd (degenerate)"
    assert row[3] == ""
    assert "never" in row
