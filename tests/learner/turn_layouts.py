"""Random turns, laid out in rows of their own or several to a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

FIELDS = ("new", "sampler", "proximal", "advantages")


class Layout(NamedTuple):
    """Per-token arrays `[B, T]` by name, and whose tokens they are."""

    arrays: Mapping[str, np.ndarray]
    turn_ids: np.ndarray


def random_turns(
    lengths: Sequence[int], seed: int = 0, *, spread: float = 0.3
) -> list[dict[str, np.ndarray]]:
    """Log-probs that differ by `spread` between policies, and one advantage per turn."""
    rng = np.random.default_rng(seed)
    turns = []
    for length in lengths:
        new = -rng.exponential(1.0, length)
        turns.append(
            {
                "new": new,
                "sampler": new + rng.normal(0, spread, length),
                "proximal": new + rng.normal(0, spread / 2, length),
                "advantages": np.full(length, rng.normal()),
            }
        )
    return [{name: values.astype(np.float32) for name, values in turn.items()} for turn in turns]


def lay_out(
    turns: Sequence[Mapping[str, np.ndarray]],
    rows: Sequence[Sequence[int]],
    *,
    length: int,
    gap: int = 1,
) -> Layout:
    """Put turns, by index, into rows of `length` with `gap` tokens of no turn before each."""
    shape = (len(rows), length)
    arrays = {name: np.zeros(shape, np.float32) for name in turns[0]}
    turn_ids = np.zeros(shape, np.int32)
    for row, members in enumerate(rows):
        stop = 0
        for index in members:
            start = stop + gap
            stop = start + len(turns[index]["new"])
            turn_ids[row, start:stop] = index + 1
            for name, values in turns[index].items():
                arrays[name][row, start:stop] = values
    return Layout(arrays, turn_ids)


def by_turn(values: np.ndarray, turn_ids: np.ndarray) -> list[np.ndarray]:
    """The tokens of each turn, in order of its number."""
    values = np.asarray(values)
    return [values[turn_ids == number] for number in range(1, int(turn_ids.max()) + 1)]
