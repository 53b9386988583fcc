"""The suite's table: means over seeds, gaps where a trial is missing."""

from __future__ import annotations

import pytest
from trial_results import trial

from clawjax.evals.personal_table import render_table


def cells(table: str, method: str) -> list[str]:
    row = next(line for line in table.splitlines() if line.startswith(f"| {method}"))
    return [cell.strip() for cell in row.split("|")[1:-1]]


def test_gains_are_against_the_base_of_the_same_seed() -> None:
    table = render_table(
        [
            trial("base", 0, [0.2, 0.2]),
            trial("base", 1, [0.4, 1.0]),
            trial("combined", 0, [0.9, 0.9], sessions_to_stable=10),
            trial("combined", 1, [0.8, 0.8]),
        ]
    )
    row = cells(table, "combined")
    assert row[1:5] == ["2", "0.85 (0.80 to 0.90)", "0.80 to 0.90", "+0.40 (+0.10 to +0.70)"]
    stable = row.index("10, 1 never")
    assert row[stable + 1] == "14, 1 unknown", "seed 0's base never meets the wish"
    assert cells(table, "base")[stable + 1] == ""
    assert row[-1] == "2.0"


def test_without_a_base_there_is_no_gain() -> None:
    row = cells(render_table([trial("opd", 0, [1.0])]), "opd")
    assert row[0] == "opd"
    assert row[3] == "unknown", "of one reply"
    assert row[4] == ""
    stable = row.index("never")
    assert row[stable + 1] == "unknown"


@pytest.mark.parametrize(
    ("field", "value"), [("short_share", 0.03), ("identical_share", 0.03), ("distinct2", 0.5)]
)
def test_a_policy_that_says_nothing_or_the_same_is_marked(field: str, value: float) -> None:
    lost = trial("opd", 0, [1.0])
    lost["style"][field] = value
    table = render_table([trial("base", 0, [0.2]), lost])
    assert cells(table, "opd")[0] == "opd (degenerate)"
    assert cells(table, "base")[0] == "base"
