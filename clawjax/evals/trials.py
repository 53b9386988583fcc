"""Trial files of the personal suite, gathered from one or several runs.

Invariant: what is gathered can be compared. A trial measured twice, different numbers of held-out
prompts, one method (or what is not trained at all) with two settings, and two personas of one name
are refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from clawjax.config import METHODS, UNTRAINED
from clawjax.errors import ConfigError

__all__ = ["read_trials"]

Trial = dict[str, Any]


def read_trials(folders: Sequence[Path]) -> list[Trial]:
    """All of `<folder>/trials/*.json`, by persona, method and seed.

    Raises:
        ConfigError: nothing there, a trial measured twice, or settings that differ.
    """
    found: dict[tuple[str, str, int], tuple[Path, Trial]] = {}
    for file in _files(folders):
        trial = json.loads(file.read_text(encoding="utf-8"))
        key = (trial["persona"], trial["method"], trial["seed"])
        if key in found:
            msg = f"{found[key][0]} and {file} are the same trial: keep one"
            raise ConfigError(msg)
        found[key] = file, trial
    if not found:
        msg = f"no trial in {', '.join(map(str, folders))}: run experiments/evaluate.py first"
        raise ConfigError(msg)
    _check_settings(found.values())
    return [found[key][1] for key in sorted(found, key=_order)]


def _files(folders: Iterable[Path]) -> Iterable[Path]:
    for folder in folders:
        yield from sorted((folder / "trials").glob("*.json"))


def _order(key: tuple[str, str, int]) -> tuple[str, int, int]:
    persona, method, seed = key
    return persona, METHODS.index(method), seed


def _check_settings(found: Iterable[tuple[Path, Trial]]) -> None:
    first: dict[str, tuple[Path, object]] = {}
    for file, trial in found:
        method = " and ".join(UNTRAINED) if trial["method"] in UNTRAINED else trial["method"]
        compared = {
            "number of prompts": trial["style"]["n"],
            f"file of the persona {trial['persona']}": trial.get("persona_file"),
            f"settings of {method}": trial["settings"],
        }
        for what, value in compared.items():
            other, expected = first.setdefault(what, (file, value))
            if value != expected:
                msg = f"{other} and {file} differ in the {what}: gather runs that agree"
                raise ConfigError(msg)
