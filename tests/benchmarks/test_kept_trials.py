"""Trials are measured once, by one process, and only with the same settings."""

from __future__ import annotations

import multiprocessing
import time
from pathlib import Path

import pytest
from _trials import begun_anew, digest, kept

from clawjax.errors import ConfigError


def test_what_was_measured_is_not_measured_again(tmp_path: Path) -> None:
    file, calls = tmp_path / "trials" / "a-0.json", []

    def measure() -> dict[str, int]:
        calls.append(1)
        return {"value": 7}

    first, second = kept(file, "s", measure), kept(file, "s", measure)
    assert first == second
    assert first["value"] == 7
    assert len(calls) == 1
    with pytest.raises(ConfigError, match="measured with other settings"):
        kept(file, "t", measure)


def test_a_measurement_that_fails_leaves_no_file(tmp_path: Path) -> None:
    file = tmp_path / "a-0.json"
    with pytest.raises(ZeroDivisionError):
        kept(file, "s", lambda: {"value": 1 / 0})
    assert not list(tmp_path.glob("*.json"))
    assert kept(file, "s", lambda: {"value": 1})["value"] == 1


def _measured_slowly(folder: Path, name: str, started: Path) -> None:
    def measure() -> dict[str, str]:
        with started.open("a") as file:
            file.write(f"{name}\n")
        deadline = time.monotonic() + 60
        while len(started.read_text().split()) < 2 and time.monotonic() < deadline:
            time.sleep(0.02)
        return {"both": started.read_text()}

    kept(folder / f"{name}.json", "s", measure)


def test_processes_with_shares_of_their_own_measure_side_by_side(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    started = tmp_path / "started"
    started.touch()
    shares = [
        context.Process(target=_measured_slowly, args=(tmp_path, name, started)) for name in "ab"
    ]
    for share in shares:
        share.start()
    for share in shares:
        share.join(120)
        assert share.exitcode == 0
    found = [kept(tmp_path / f"{name}.json", "s", dict) for name in "ab"]
    assert all(sorted(each["both"].split()) == ["a", "b"] for each in found)


def _counted(file: Path, notes: Path) -> None:
    def measure() -> dict[str, int]:
        with notes.open("a") as noted:
            noted.write("once\n")
        time.sleep(0.3)
        return {}

    kept(file, "s", measure)


def test_one_trial_is_measured_by_one_process(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    file, notes = tmp_path / "a.json", tmp_path / "notes"
    both = [context.Process(target=_counted, args=(file, notes)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(120)
        assert process.exitcode == 0
    assert notes.read_text() == "once\n"


def test_a_folder_is_begun_anew(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "a"
    folder.mkdir(parents=True)
    (folder / "turns.db").write_text("half")
    assert list(begun_anew(folder).iterdir()) == []


def test_settings_that_cannot_be_compared_are_refused() -> None:
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1}) != digest({"a": 1, "b": [3]})
    with pytest.raises(TypeError, match="neither JSON nor a dataclass"):
        digest({"a": object()})
