"""Parity checks: all published numbers are reproduced, and what is missing is a gap."""

import json
import re

import _scorer_parity
import pytest
from _scorer_parity import CHECKS, DATA, Parity, goal_of, row_of
from _tau_parity import agreeing_tasks

from clawjax.evals.metrics.statistics import pass_at_k
from clawjax.evals.suites.tau.suite import build


@pytest.mark.parametrize(
    ("name", "items"), [("dbbench", 60), ("gaia", 82), ("overall", 27), ("tau_pass_k", 4)]
)
def test_published_numbers_are_reproduced(name, items):
    found = CHECKS[name]()
    assert found.items == items
    assert goal_of(name, found).met


def test_a_wrong_verdict_or_mean_is_noticed(monkeypatch):
    monkeypatch.setattr(_scorer_parity, "is_match", lambda answer, gold: answer == gold)
    assert not goal_of("gaia", CHECKS["gaia"]()).met
    monkeypatch.setattr(_scorer_parity, "pass_hat_k", pass_at_k)
    found = CHECKS["tau_pass_k"]()
    assert (found.agreeing, found.items) == (1, 4)  # they are the same for k = 1
    assert not goal_of("tau_pass_k", found).met


def test_webarena_is_scored_as_published():
    found = CHECKS["webarena"]()
    if found.gap is not None:
        pytest.skip(found.gap)
    assert found.items == 812
    assert goal_of("webarena", found).met


def test_right_answers_are_paid_and_no_others():
    found = CHECKS["verified"]()
    if found.gap is not None:
        pytest.skip(found.gap)
    assert found.items == 324
    assert goal_of("verified", found).met


def test_a_state_that_is_another_does_not_agree():
    folder = DATA / "tau" / "airline"
    suite = build({"domain": "airline", "path": str(folder), "silent_users": True})
    states = json.loads((DATA / "tau" / "states.json").read_text())["cut"]["airline"]
    assert agreeing_tasks(suite, {**states, "7": states["8"]}) == set(states) - {"7"}


def test_a_scorer_that_disagrees_misses_the_goal():
    found = Parity("somewhere", items=3, agreeing=2, largest=0.5)
    assert not goal_of("x", found).met
    assert row_of("x", found)["agreeing"] == 2


@pytest.mark.parametrize("name", CHECKS)
def test_missing_data_is_a_gap(name, monkeypatch, tmp_path):
    monkeypatch.setattr(_scorer_parity, "DATA", tmp_path)
    monkeypatch.setattr(_scorer_parity, "evaluators_file", lambda: None)
    monkeypatch.delenv("CLAWJAX_VERIFIED_PYTHON", raising=False)
    assert re.search("is missing|is not installed", row_of(name, CHECKS[name]())["gap"])
