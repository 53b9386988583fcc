"""Training and held-out rows, apart by whom they are of.

Invariant: nobody is on both sides, whatever else the files hold and in whatever order: the side is
a hash of the name alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from clawjax.data.dedupe import prompt_text
from clawjax.data.preferences import Row
from clawjax.errors import DataError

__all__ = ["Split", "SplitBy", "apart", "split"]


class SplitBy(StrEnum):
    """What must not be on both sides."""

    user = "user"
    """A user; where a row names none, its prompt."""
    prompt = "prompt"
    """A prompt: for the data of one user."""


class Split(NamedTuple):
    """Both sides, in the order of the rows."""

    train: tuple[Row, ...]
    held_out: tuple[Row, ...]


def split(
    rows: Sequence[Row], *, held_out: float, by: SplitBy = SplitBy.user, seed: int = 0
) -> Split:
    """Hold out about so large a share of the users, or prompts.

    Raises:
        DataError: one side is empty, though both are wanted.
    """
    if held_out == 0:
        return Split(tuple(rows), ())
    sides: tuple[list[Row], list[Row]] = ([], [])
    for row in rows:
        sides[_fraction(f"{seed}:{_name(row, by)}") < held_out].append(row)
    train, kept = sides
    if not train or not kept:
        names = len({_name(row, by) for row in rows})
        msg = (
            f"{len(rows)} rows of {names} {by.value}s leave {len(train)} to train on and "
            f"{len(kept)} held out at a share of {held_out:g}: split by prompt, change the share "
            "or the seed, or hold out nothing (0)"
        )
        raise DataError(msg)
    return Split(tuple(train), tuple(kept))


def apart(
    train: Sequence[Row], held_out: Sequence[Row], *, by: SplitBy = SplitBy.user
) -> tuple[Row, ...]:
    """The training rows that answer nothing that is held out, where both sides are given.

    Prompts are the same if they differ in case and white space only.

    Args:
        train: in order.
        held_out: what is measured on.
        by: `user`: two users who ask the same are two data points, as long as both are named;
            `prompt`: whoever asks.
    """
    askers: dict[str, set[str]] = {}
    for row in held_out:
        askers.setdefault(prompt_text(row), set()).add(row.user)

    def is_asked(row: Row) -> bool:
        users = askers.get(prompt_text(row), set())
        is_anybody = by is SplitBy.prompt or not row.user or "" in users
        return bool(users) if is_anybody else row.user in users

    return tuple(row for row in train if not is_asked(row))


def _name(row: Row, by: SplitBy) -> str:
    if by is SplitBy.user and row.user:
        return f"user {row.user}"
    return "prompt " + "\n".join(f"{message.role}: {message.content}" for message in row.prompt)


def _fraction(text: str) -> float:
    """Uniform in [0, 1), the same for the same text on every machine."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") / 2**48
