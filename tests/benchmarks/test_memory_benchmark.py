"""What the benchmark of a serving process's memory makes of what it sees."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from _config import composed
from memory import TINY, Part, goals, measured, parts


def test_a_row_says_what_its_part_added(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = iter([100 * 2**20, 160 * 2**20, 240 * 2**20])
    monkeypatch.setattr("memory.resident", lambda: next(seen))
    rows = measured([Part("libraries"), Part("weights", 50 * 2**20), Part("programs: x", 0, 4)])
    assert [row["mib"] for row in rows] == [100.0, 60.0, 80.0]
    assert [row["mib_each"] for row in rows] == [None, None, 20.0]
    assert {goal.name: goal.value for goal in goals(rows)} == {
        "weights, keys and values, over their bytes": 1.2,
        "a compiled program, mean of the largest kind": 20.0,
    }
    assert [goal.met for goal in goals(rows)] == [False, True]


def test_memory_that_a_part_holds_is_seen() -> None:
    held: list[np.ndarray] = []

    def made() -> Iterator[Part]:
        yield Part("before")
        held.append(np.ones(64 * 2**20, np.uint8))
        yield Part("64 MiB")

    assert 60 < measured(made())[1]["mib"] < 80


def test_an_engine_is_put_together_part_by_part(tmp_path: Path) -> None:
    made = list(parts(composed(tmp_path, *TINY, "engine.live_buckets=[256]")))
    assert [part.name for part in made[:3]] == ["libraries", "weights", "keys and values"]
    programs = {part.name: part.programs for part in made[3:]}
    assert set(programs) == {
        f"programs: {kind}" for kind in ("copy", "decode", "mixed", "prefill", "sample")
    }
    assert all(programs.values())
    assert made[1].counted > 0
    assert made[2].counted > 0
