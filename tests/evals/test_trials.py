"""Trials gathered from several runs: only what can be compared."""

from __future__ import annotations

from pathlib import Path

import pytest
from trial_results import trial, write_trials

from clawjax.errors import ConfigError
from clawjax.evals.trials import read_trials


def test_runs_are_joined_in_the_order_of_the_table(tmp_path: Path) -> None:
    one = write_trials(tmp_path / "one", trial("combined", 1), trial("base", 1))
    two = write_trials(tmp_path / "two", trial("base", 0), trial("base", 0, persona="asks"))
    found = read_trials([one, two])
    assert [(t["persona"], t["method"], t["seed"]) for t in found] == [
        ("asks", "base", 0),
        ("brief", "base", 0),
        ("brief", "base", 1),
        ("brief", "combined", 1),
    ]


def test_a_trial_measured_twice_is_refused(tmp_path: Path) -> None:
    folders = [write_trials(tmp_path / name, trial("opd")) for name in ("one", "two")]
    with pytest.raises(ConfigError, match=r"brief-opd-0\.json are the same trial: keep one"):
        read_trials(folders)


def test_one_method_with_two_settings_is_refused(tmp_path: Path) -> None:
    run = write_trials(tmp_path, trial("opd", 0), trial("opd", 1, settings="other"))
    with pytest.raises(ConfigError, match="differ in the settings of opd"):
        read_trials([run])


def test_two_personas_of_one_name_are_refused(tmp_path: Path) -> None:
    mine = [trial("base", seed, persona="mine") | {"persona_file": str(seed)} for seed in (0, 1)]
    write_trials(tmp_path, *mine)
    with pytest.raises(ConfigError, match="differ in the file of the persona mine"):
        read_trials([tmp_path])


def test_the_base_and_the_told_base_are_of_one_model_and_one_way_of_asking(tmp_path: Path) -> None:
    same = write_trials(tmp_path / "same", trial("base"), trial("prompted"), trial("opd"))
    assert len(read_trials([same])) == 3
    other = write_trials(tmp_path / "other", trial("base", 1), trial("prompted", 1, settings="x"))
    with pytest.raises(ConfigError, match="differ in the settings of base and prompted"):
        read_trials([other])


def test_scores_of_different_prompts_are_not_compared(tmp_path: Path) -> None:
    write_trials(tmp_path, trial("base", 0, [1.0] * 64), trial("opd", 0, [1.0] * 32))
    with pytest.raises(ConfigError, match="differ in the number of prompts"):
        read_trials([tmp_path])


def test_a_folder_without_trials_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"no trial in {tmp_path}"):
        read_trials([tmp_path])
