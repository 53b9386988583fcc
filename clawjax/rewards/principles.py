"""Principles that replies are held to: a data file of groups, and the draw for a turn.

Invariant: which principles a turn is held to depends on the seed and the turn alone, so that
judging it again asks the same.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import yaml

from clawjax.errors import ConfigError

__all__ = ["CONSTITUTION_PATH", "Principle", "draw", "read_principles"]

CONSTITUTION_PATH = Path(__file__).parent / "data" / "constitution.yaml"


class Principle(NamedTuple):
    """One thing that a reply has to hold to."""

    group: str
    name: str
    text: str
    """What a critique looks for, as a statement about a reply that holds to it."""
    hint: str
    """What an assistant is told, so that it does."""


def read_principles(path: Path | None = None, groups: Sequence[str] = ()) -> tuple[Principle, ...]:
    """The principles of a file, those of some groups only where groups are named.

    Args:
        path: YAML `group: {name: {text: ..., hint: ...}}`; None: those that come with clawjax.
        groups: empty: all.

    Raises:
        ConfigError: the file cannot be read or has another form, or has no such group.
    """
    path = path or CONSTITUTION_PATH
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        found = tuple(
            Principle(group, name, each["text"].strip(), each["hint"].strip())
            for group, members in content.items()
            for name, each in members.items()
        )
    except (OSError, yaml.YAMLError, AttributeError, KeyError, TypeError) as error:
        msg = (
            f"reward.constitution.file={path} is not usable ({type(error).__name__}: {error}): "
            "write it as `group: {name: {text: ..., hint: ...}}`"
        )
        raise ConfigError(msg) from error
    known = dict.fromkeys(principle.group for principle in found)
    for group in groups:
        if group not in known:
            msg = f"reward.constitution.groups names {group!r}: {path} has {', '.join(known)}"
            raise ConfigError(msg)
    chosen = tuple(principle for principle in found if not groups or principle.group in groups)
    if not chosen:
        msg = f"reward.constitution.file={path} has no principles: write one"
        raise ConfigError(msg)
    return chosen


def draw(
    principles: Sequence[Principle], count: int, *, seed: int, turn_id: str
) -> tuple[Principle, ...]:
    """`count` of them, or all, for one turn, in the file's order."""
    rng = random.Random(f"constitution:{seed}:{turn_id}")
    chosen = rng.sample(range(len(principles)), min(count, len(principles)))
    return tuple(principles[index] for index in sorted(chosen))
