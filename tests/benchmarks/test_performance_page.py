"""`docs/performance.md` is what the command makes of the committed results."""

from __future__ import annotations

from typing import Any

from _performance_page import render_performance
from _performance_words import EXPLAINED, SCRIPTS
from _result import RESULTS
from render_results import PERFORMANCE_PAGE, read_results


def result(rows: list[dict[str, Any]], *, value: float) -> dict[str, Any]:
    return {
        "command": "python benchmarks/some.py",
        "commit": "fedcba9876543210",
        "machine": {"cpu": "Some CPU", "cores": 2, "memory_gib": 8.0},
        "versions": {"python": "3.11.7", "jax": "0.10.2"},
        "notes": {"busy": "share of the time"},
        "rows": rows,
        "goals": [
            {"name": "speed", "op": ">=", "target": 2, "value": value, "unit": "times",
             "met": value >= 2}
        ],
    }  # fmt: skip


def test_the_committed_page_is_that_of_the_committed_results() -> None:
    results = read_results(RESULTS)
    assert PERFORMANCE_PAGE.read_text(encoding="utf-8") == render_performance(results), (
        "run python benchmarks/render_results.py"
    )
    missed = {
        name
        for name in SCRIPTS
        if name in results and not all(goal["met"] for goal in results[name]["goals"])
    }
    assert missed <= set(EXPLAINED), "a goal that is missed is explained"


def test_shares_stand_largest_first_and_what_is_nothing_has_no_row() -> None:
    rows = [
        {"case": "decode 1", "tokens_per_s": 50.2, "limit_tokens_per_s": 67.0,
         "share_of_limit": 0.75, "busy": 0.9, "part: sampling": 0.1, "part: projections": 0.9,
         "part: optimiser": 0.0},
    ]  # fmt: skip
    page = render_performance({"profiles": result(rows, value=2)})
    assert "| decode 1 | 50 | 67 | 75% | 90% |" in page
    assert page.index("| projections | 90.0% |") < page.index("| sampling | 10.0% |")
    assert "optimiser |" not in page
    assert "`python benchmarks/decode.py` measures it" in page


def test_a_missed_goal_is_marked_and_explained(monkeypatch: Any) -> None:
    monkeypatch.setitem(EXPLAINED, "decode", "Because.")
    missed = render_performance({"decode": result([], value=1.5)})
    assert "| speed | >= 2 | 1.5 times | **not met** |" in missed
    assert "Because." in missed
    assert "Because." not in render_performance({"decode": result([], value=3.0)})
