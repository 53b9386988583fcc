"""The page of the quick suites, and the goals of MiniWoB++'s record."""

import json

import miniwob
import quick_suite

from clawjax.evals.suites import SUITES

REPORT = {
    "agent": "tiny@0",
    "tasks": 5,
    "episodes": 5,
    "unscored": 0,
    "success": {"value": 0.2, "ci": [0.0, 0.6]},
    "score": {"value": 0.25},
    "efficiency": {"steps": 3.0},
    "validity": {"format_valid": 0.5, "action_valid": None},
    "outcomes": {"completed": 4, "invalid_format": 1, "task_limit": 0},
}


def test_the_quick_page_has_a_row_per_suite_played_or_not(tmp_path):
    (tmp_path / "tau").mkdir()
    (tmp_path / "tau" / "report.json").write_text(json.dumps(REPORT))
    rows = quick_suite.read_rows(tmp_path, ["tau", "web"])
    page = quick_suite.render(rows, ["suite=quick"])
    assert "| [tau](tau.html) | 5 | 0.20 (0.00 to 0.60) | 0.25 |" in page
    assert "completed 4, invalid_format 1 |" in page
    assert "| web | not played on this machine |" in page
    assert [goal.met for goal in quick_suite.goals(rows, 300.0)] == [False, True, True]


def test_the_quick_table_has_every_suite_but_those_that_need_sites():
    assert set(quick_suite._suites()) == set(SUITES) - {"webarena", "webarena_verified"}


def test_a_solution_on_record_that_does_not_solve_is_a_missed_goal():
    rows = [{"task": str(n), "seeds": 5, "played": 5, "solved": 5} for n in range(30)]
    assert all(goal.met for goal in miniwob.goals(rows))
    rows[0]["solved"] = 4
    assert [goal.met for goal in miniwob.goals(rows)] == [True, True, False]
    assert not any(goal.met for goal in miniwob.goals([]))
