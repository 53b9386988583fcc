"""From trial files to the goals of the personal suite."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import _result
import personal
import pytest
from trial_results import trial, write_trials

from clawjax.config import METHODS
from clawjax.errors import ConfigError


@pytest.fixture
def sum_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def call(*trials: dict[str, Any], options: tuple[str, ...] = ()) -> dict[str, Any]:
        run = write_trials(tmp_path / "run", *trials)
        monkeypatch.setattr(_result, "RESULTS", tmp_path / "benchmarks" / "results")
        monkeypatch.setattr(sys, "argv", ["personal.py", "--from", str(run), *options])
        personal.main()
        return json.loads((tmp_path / "benchmarks" / "results" / "personal.json").read_text())

    return call


def goals(result: dict[str, Any]) -> dict[str, tuple[Any, bool]]:
    return {goal["name"]: (goal["value"], goal["met"]) for goal in result["goals"]}


def measured(persona: str, gain: float) -> list[dict[str, Any]]:
    """Three seeds of base and combined."""
    return [
        each
        for seed in (0, 1, 2)
        for each in (
            trial("base", seed, [0.0, 0.0], persona=persona),
            trial("combined", seed, [gain, gain], persona=persona),
        )
    ]


def others(*personas: str) -> list[dict[str, Any]]:
    """Three seeds of all that is not judged."""
    return [
        trial(method, seed, persona=persona)
        for method in METHODS
        if method not in ("base", "combined")
        for persona in personas
        for seed in (0, 1, 2)
    ]


def test_everything_learnt_and_measured_meets_every_goal(sum_up) -> None:
    learnt = [*measured("asks", 0.5), *measured("brief", 0.75)]
    result = sum_up(*learnt, *others("asks", "brief"))
    assert [goal["met"] for goal in result["goals"]] == [True] * 9
    assert {row["kind"] for row in result["rows"]} == {"trial", "persona", "method"}
    assert result["command"] == "python benchmarks/personal.py"


def test_what_was_not_measured_is_a_goal_not_met(sum_up) -> None:
    found = goals(sum_up(*measured("asks", 0.5), trial("sft", 0, persona="asks")))
    assert found["methods measured on every persona with 3 seeds"] == (2, False)


@pytest.mark.parametrize("learnt", [4, 5])
def test_five_of_six_personas_have_to_be_learnt(sum_up, learnt: int) -> None:
    names = ("asks", "brief", "formal", "plain", "student", "you")
    each = [measured(name, 0.5 if i < learnt else 0.25) for i, name in enumerate(names)]
    first = sum_up(*(found for trials in each for found in trials))["goals"][0]
    assert (first["target"], first["value"], first["met"]) == (5, learnt, learnt == 5)


def test_a_persona_without_the_method_counts_as_not_learnt(sum_up) -> None:
    found = goals(sum_up(*measured("asks", 1.0), trial("base", 0, persona="brief")))
    assert found["seeds"] == (0, False)
    name = "personas on which combined is 0.5 or more above base, mean of seeds"
    assert found[name] == (1, False)


@pytest.mark.parametrize(
    ("block", "field", "value", "goal"),
    [
        ("retention", "kl_per_token", 0.6, "largest KL to the base on neutral prompts of combined"),
        ("retention", "nll_per_token", 2.5, "largest NLL increase of combined"),
        ("retention", "accuracy", {"value": 0.375}, "largest accuracy drop of combined"),
        ("style", "short_share", 0.03, "largest share of short or identical replies of combined"),
        (
            "style",
            "identical_share",
            0.03,
            "largest share of short or identical replies of combined",
        ),
        ("style", "distinct2", 0.5, "smallest distinct-2 of combined relative to base"),
        ("training", "lost", 1, "turns lost"),
        ("training", "lost", None, "turns lost"),
    ],
)
def test_one_bad_trial_misses_its_goal_and_no_other(
    sum_up, block: str, field: str, value: Any, goal: str
) -> None:
    trials = [*others("brief"), *measured("brief", 1.0)]
    trials[-1][block][field] = value
    assert [name for name, (_, met) in goals(sum_up(*trials)).items() if not met] == [goal]


def test_without_a_base_nothing_is_compared(sum_up) -> None:
    found = goals(sum_up(trial("combined")))
    assert found["largest NLL increase of combined"] == (None, False)
    assert found["seeds"] == (0, False)


def test_choices_leave_trials_out_and_stand_in_the_command(sum_up) -> None:
    options = ("--personas", "brief", "--seeds", "0,1", "--set", "suite.held_out=2")
    result = sum_up(*measured("asks", 1.0), *measured("brief", 1.0), options=options)
    rows = [row for row in result["rows"] if row["kind"] == "trial"]
    assert {(row["persona"], row["seed"]) for row in rows} == {("brief", 0), ("brief", 1)}
    assert result["command"] == "python benchmarks/personal.py " + " ".join(options)
    with pytest.raises(ConfigError, match="no trial is of the chosen personas"):
        sum_up(*measured("asks", 1.0), options=("--personas", "nobody"))


@pytest.mark.slow
def test_a_run_is_measured_and_summed_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_result, "RESULTS", tmp_path / "benchmarks" / "results")
    monkeypatch.setattr(personal, "RUNS", tmp_path)
    monkeypatch.setenv("CLAWJAX_RUNS", str(tmp_path))
    options = ["--quick", "--methods", "base", "--run-name", "some"]
    monkeypatch.setattr(sys, "argv", ["personal.py", *options])
    personal.main()
    result = json.loads((tmp_path / "benchmarks" / "results" / "personal_quick.json").read_text())
    assert [(row["kind"], row["method"]) for row in result["rows"]] == [
        ("trial", "base"),
        ("persona", "base"),
    ]
    assert (tmp_path / "some" / "trials" / "brief-base-0.json").exists()
    assert result["command"] == "python benchmarks/personal.py --quick --methods base"
