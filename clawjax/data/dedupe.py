"""Rows that say what another row of the same user says already.

Invariants: of rows that are alike, the first is kept; rows of different users never count as alike,
because two people who agree are two data points. The comparison is exact, not sampled.

Reference: set similarity join by prefix filtering, Bayardo et al. 2007, "Scaling up all pairs
similarity search".
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import starmap
from typing import NamedTuple

from clawjax.data.preferences import Preference, Row
from clawjax.records import Message

__all__ = ["Deduped", "deduped", "prompt_text", "shingles", "similarity"]

_WORDS = 3
"""Of a shingle."""
_ROUNDING = 1e-9
"""0.55 times 100 is a little more than 55."""

Parts = tuple[frozenset[str], ...]
"""Word triples of a row's prompt and of each of its replies."""


class Deduped(NamedTuple):
    """What is left, and how much was not."""

    rows: tuple[Row, ...]
    exact: int
    """Left out for being equal to another but for case and white space."""
    near: int
    """Left out for being nearly so."""


def deduped(rows: Sequence[Row], *, similar: float = 0.9) -> Deduped:
    """The rows without repetitions.

    Praise and blame of the same reply, and a pair and the same one the other way round, contradict
    each other: both are kept.

    Args:
        rows: in order; the first of several that are alike is kept.
        similar: least `similarity` of rows that count as alike; above 1 only equal ones do.
    """
    first: dict[tuple[str, str, tuple[str, ...]], Row] = {}
    for row in rows:
        first.setdefault((row.user, _kind(row), _texts(row)), row)
    comparable: dict[tuple[str, str], list[Row]] = {}
    for (user, kind, _), row in first.items():
        comparable.setdefault((user, kind), []).append(row)
    kept = {id(row) for group in comparable.values() for row in _unlike(group, similar)}
    left = tuple(row for row in first.values() if id(row) in kept)
    return Deduped(left, exact=len(rows) - len(first), near=len(first) - len(left))


def similarity(one: Parts, other: Parts) -> float:
    """Of prompt or replies, whichever are least alike: what both have of what either has."""
    return min(starmap(_jaccard, zip(one, other, strict=True)))


def _jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    both = len(one & other)
    return both / (len(one) + len(other) - both)


def shingles(row: Row) -> Parts:
    """Each part's triples of words in a row; a shorter text is one of its own."""
    return tuple(frozenset(_triples(text.split())) for text in _texts(row))


def _unlike(rows: Sequence[Row], similar: float) -> list[Row]:
    """Rows none of which is too much like one before it.

    Two sets with a Jaccard similarity of t or more share one of the `n - ceil(t n) + 1` rarest
    members of either. That holds of each part of two rows that are alike, so only the rows that
    share one in the part where the fewest do are compared: a system prompt that all have tells
    nothing, and what was answered nearly all.
    """
    if similar > 1:
        return list(rows)
    parts = [shingles(row) for row in rows]
    columns = [_Column(column, similar) for column in zip(*parts, strict=True)]
    kept: list[Row] = []
    for place, row in enumerate(rows):
        fewest = min((column.candidates(place) for column in columns), key=_size)
        others = set[int]().union(*fewest)
        if not any(_is_alike(parts[place], parts[other], similar) for other in others):
            kept.append(row)
            for column in columns:
                column.add(place)
    return kept


def _size(candidates: Sequence[Sequence[int]]) -> int:
    return sum(map(len, candidates))


def _is_alike(one: Parts, other: Parts, similar: float) -> bool:
    """As `similarity`, the shortest part first."""
    pairs = sorted(zip(one, other, strict=True), key=lambda pair: len(pair[0]))
    return all(_jaccard(*pair) >= similar for pair in pairs)


class _Column:
    """One part of all rows, and which rows have which of their rarest members."""

    def __init__(self, column: Sequence[frozenset[str]], similar: float) -> None:
        rarity = Counter(member for part in column for member in part)
        self._rarest = [
            sorted(part, key=lambda member: (rarity[member], member))[
                : len(part) - math.ceil(similar * len(part) - _ROUNDING) + 1
            ]
            for part in column
        ]
        self._index: dict[str, list[int]] = {}

    def candidates(self, place: int) -> list[list[int]]:
        """Rows before it that may be like it, by the member that they share."""
        return [self._index[m] for m in self._rarest[place] if m in self._index]

    def add(self, place: int) -> None:
        """Later rows are compared with it."""
        for member in self._rarest[place]:
            self._index.setdefault(member, []).append(place)


def _kind(row: Row) -> str:
    if isinstance(row, Preference):
        return "pair"
    return "praise" if row.is_liked else "blame"


def _texts(row: Row) -> tuple[str, ...]:
    """Prompt and replies; equal for rows that differ in case and white space only."""
    replies = (row.chosen, row.rejected) if isinstance(row, Preference) else (row.reply,)
    return (prompt_text(row), *map(_text, replies))


def prompt_text(row: Row) -> str:
    """What a row answers; equal for prompts that differ in case and white space only."""
    return " ".join(map(_text, row.prompt))


def _text(message: Message) -> str:
    calls = " ".join(f"{call.name} {call.arguments}" for call in message.tool_calls)
    return f"{message.role}: " + " ".join(f"{message.content} {calls}".casefold().split())


def _triples(words: Sequence[str]) -> list[str]:
    count = max(1, len(words) - _WORDS + 1)
    return [" ".join(words[start : start + _WORDS]) for start in range(count)]
