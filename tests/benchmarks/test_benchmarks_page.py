"""`benchmarks/README.md` lists every script, and says what the committed results say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from _benchmarks_page import MINUTES, render_readme, scripts
from _result import RESULTS
from render_results import FOLDER, README, read_results


def result(**goal: Any) -> dict[str, Any]:
    stated = {"name": "a|b", "op": "<=", "target": 2.5, "value": 1.25, "unit": "x", "met": True}
    return {
        "command": "python benchmarks/some.py --personas brief",
        "commit": "0123456789abcdef",
        "goals": [stated, stated | goal],
    }


def cells(page: str, start: str) -> list[str]:
    line = next(line for line in page.splitlines() if line.startswith(start))
    return [cell.strip() for cell in line.replace("\\|", "/").strip("|").split("|")]


@pytest.fixture(autouse=True)
def takes_two_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MINUTES, "some", 2)


def test_the_committed_page_is_that_of_the_scripts_and_the_committed_results() -> None:
    page = render_readme(scripts(FOLDER), read_results(RESULTS))
    assert README.read_text(encoding="utf-8") == page, "run python benchmarks/render_results.py"


def test_every_script_has_its_minutes_and_every_result_its_script() -> None:
    names = scripts(FOLDER).keys()
    assert names <= MINUTES.keys()
    assert {result["command"].split()[1] for result in read_results(RESULTS).values()} <= {
        f"benchmarks/{name}.py" for name in names
    }
    assert {"overlap", "feedback_to_served", "latency_under_training"} <= names


def test_a_script_asks_what_its_docstring_begins_with(tmp_path: Path) -> None:
    (tmp_path / "some.py").write_text('"""How fast\nis it?\n\nVery fast.\n"""\n')
    for helper in ("_compare.py", "check.py", "render_results.py"):
        (tmp_path / helper).write_text('"""No benchmark."""\n')
    assert scripts(tmp_path) == {"some": "How fast is it?"}


def test_what_was_measured_stands_in_one_row() -> None:
    missed = result(value=3.0, met=False)
    assert cells(render_readme({"some": "How fast?"}, {"some": missed}), "| [some]") == [
        "[some](some.py)",
        "How fast?",
        "`python benchmarks/some.py --personas brief`",
        "2",
        "met: a/b: 1.25 (<= 2.5 x)<br>**not met**: a/b: 3 (<= 2.5 x)",
        "01234567",
    ]


def test_a_goal_without_a_value_and_a_script_without_a_result_are_gaps() -> None:
    page = render_readme({"some": "How fast?"}, {"some": result(value=None, met=False)})
    assert cells(page, "| [some]")[4].endswith("**not met**: a/b: not measured (<= 2.5 x)")
    assert cells(render_readme({"some": "How fast?"}, {}), "| [some]")[2:] == [
        "`python benchmarks/some.py`",
        "2",
        "not measured yet",
        "",
    ]


def test_quick_runs_are_no_results(tmp_path: Path) -> None:
    for name in ("some", "some_quick"):
        (tmp_path / f"{name}.json").write_text('{"goals": []}')
    (tmp_path / "check_baseline.json").write_text('{"ratios": {}}')
    assert read_results(tmp_path).keys() == {"some"}
