"""One table of keys: in the docs, in the code that logs, nowhere twice."""

from __future__ import annotations

import re
from pathlib import Path

from clawjax.metrics.keys import KEYS, describe, render_table, unknown_keys

ROOT = Path(__file__).parents[2]
LOGGED = re.compile(
    r'"((?:train|drift|engine|log|judge|gateway|process|eval|user|hacking)/[a-z0-9_/]+)"'
)


def test_no_key_is_listed_twice_or_without_a_meaning() -> None:
    names = [key.name for key in KEYS]
    assert len(set(names)) == len(names)
    assert all(key.unit and key.meaning for key in KEYS)


def test_the_docs_have_the_table() -> None:
    assert render_table() in (ROOT / "docs" / "metrics.md").read_text()


def test_every_key_that_the_code_names_is_in_the_table() -> None:
    sources = [path for path in (ROOT / "clawjax").rglob("*.py") if path.name != "keys.py"]
    named = {key for path in sources for key in LOGGED.findall(path.read_text())}
    assert "train/loss" in named
    assert unknown_keys(sorted(named)) == ()


def test_a_family_of_keys_is_described_by_its_beginning() -> None:
    found = describe("log/dropped/stale")
    assert found is not None
    assert found.name == "log/dropped/*"
    assert describe("log/droppedstale") is None
    assert unknown_keys(["train/loss", "train/lozz"]) == ("train/lozz",)
