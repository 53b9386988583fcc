"""Trials of `process_labels` are measured once, and compared seed by seed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("jax")

import process_labels
from process_labels import QUICK, goals, measure, row

from clawjax.errors import ConfigError


class _Counted:
    """In place of the work: what was asked for."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.fails_at = ""

    def imitate(self, bench: Any, scale: Any, seed: int, *, mistakes: float) -> str:
        self.calls.append(f"imitate {mistakes}")
        return "start"

    def measured(self, *given: Any, version: int) -> dict[str, float]:
        self.calls.append(f"measured {version}")
        return {"0": 0.0, "1": 0.0}

    def practise(self, bench: Any, start: Any, contestant: Any, *given: Any) -> Any:
        self.calls.append("practise")
        if contestant.weight and self.fails_at == "labels":
            raise KeyboardInterrupt
        solved = {"0": 1.0, "1": float(contestant.weight > 0)}
        return [{"update": 1, "success": sum(solved.values()) / 2}], solved


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> _Counted:
    found = _Counted()
    for name in ("imitate", "measured", "practise"):
        monkeypatch.setattr(process_labels, name, getattr(found, name))
    monkeypatch.setattr(process_labels, "MISTAKES", (0.5,))
    return found


def test_nothing_is_measured_twice_even_where_a_run_was_cut_off(
    tmp_path: Path, counted: _Counted
) -> None:
    counted.fails_at = "labels"
    with pytest.raises(KeyboardInterrupt):
        measure(tmp_path, QUICK, [0], ["outcome_only", "separate"])
    assert counted.calls == ["imitate 0.5", "measured 0", "practise", "practise"]
    counted.calls, counted.fails_at = [], ""
    rows = measure(tmp_path, QUICK, [0], ["outcome_only", "separate"])
    assert counted.calls == ["imitate 0.5", "practise"], "the start is made again, and not measured"
    assert measure(tmp_path, QUICK, [0], ["outcome_only", "separate"]) == rows
    assert len(counted.calls) == 2
    assert [each["success_start"] for each in rows] == [0.0, 0.0]
    assert [each["gain"] for each in rows] == [None, 0.5]
    with pytest.raises(ConfigError, match="measured with other settings"):
        measure(tmp_path, QUICK._replace(updates=2), [0], ["separate"])


def trial(seed: int, solved: list[float]) -> dict[str, Any]:
    success = sum(solved) / len(solved)
    return {
        "seed": seed,
        "curve": [{"update": 0, "success": 0.0}, {"update": 1, "success": success}],
        "solved": {str(number): each for number, each in enumerate(solved)},
        "seconds": 60.0,
        "git_sha": "abc",
    }


def test_intervals_are_over_seeds_too() -> None:
    plain = [trial(seed, [0.0] * 40) for seed in range(3)]
    own = [trial(seed, [float(seed > 0)] * 40) for seed in range(3)]
    found = row("separate", own, plain)
    assert found["gain"] == 0.667
    assert found["gain_ci95"] == [0.0, 1.0], "all tasks of a seed agree, so only seeds differ"
    assert found["success_ci95"] == [0.0, 1.0]
    assert found["seeds"] == [0, 1, 2]


def test_tasks_are_drawn_for_all_seeds_alike() -> None:
    own = [trial(seed, [1.0] * 4 + [0.0] * 4) for seed in range(3)]
    low, high = row("separate", own, None)["success_ci95"]
    assert low <= 0.25, "eight tasks were seen, not twenty-four"
    assert high >= 0.75


def test_what_was_not_measured_is_no_goal_met() -> None:
    own = [trial(0, [1.0])]
    found = {goal.name: goal for goal in goals([{"mistakes": 0.55, **row("separate", own, None)}])}
    assert found["success gained by labels by rules"].value is None
    assert found["separate ahead of step_bucket"].value is None
    assert not any(goal.met for goal in found.values())


def test_an_unknown_contestant_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        process_labels.parsed(["--arms", "separate,seperate"])
    assert "--arms seperate: choose from outcome_only," in capsys.readouterr().err
