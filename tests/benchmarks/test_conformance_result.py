"""From what became of tests to rows and goals."""

from __future__ import annotations

from typing import Any

from conformance import MEASURED, Collected, first_error, goals


class Report:
    """What pytest tells a plugin."""

    nodeid = "tests/conformance/test_conformance.py::test_shape[chat]"
    longreprtext = "def test():\nE   AssertionError: no text\nE   more\n"
    duration = 1.234

    def __init__(self, when: str, outcome: str, *properties: tuple[str, object]) -> None:
        self.when, self.outcome, self.user_properties = when, outcome, properties


def collected(*reports: Any) -> list[dict[str, object]]:
    plugin = Collected("peer")
    for report in reports:
        plugin.pytest_runtest_logreport(report)
    return plugin.rows


def test_a_test_is_one_row_with_what_it_measured() -> None:
    rows = collected(
        Report("setup", "passed"), Report("call", "passed", (MEASURED, 2e-6)),
        Report("teardown", "passed"), Report("setup", "skipped"), Report("call", "failed"),
    )  # fmt: skip
    assert [row["outcome"] for row in rows] == ["passed", "skipped", "failed"]
    assert rows[0] == {
        "server": "peer", "case": "test_shape[chat]", "outcome": "passed", "seconds": 1.23,
        MEASURED: 2e-6,
    }  # fmt: skip
    assert rows[2]["why"] == "AssertionError: no text"
    assert first_error("nothing of the kind") == "nothing of the kind"


def test_goals_are_met_by_a_server_that_conforms_and_by_no_other() -> None:
    fine = [*[{"outcome": "passed"}] * 50, {"outcome": "passed", MEASURED: 3e-6}]
    assert [goal.met for goal in goals("peer", fine)] == [True, True, True]
    assert [goal.met for goal in goals("peer", [])] == [False, True, False]
    worse = [*fine, {"outcome": "failed", MEASURED: 1e-3}]
    assert [goal.met for goal in goals("peer", worse)] == [True, False, False]
