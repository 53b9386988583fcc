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
from typing import NamedTuple

from clawjax.data.preferences import Preference, Row
from clawjax.records import Message

__all__ = ["Deduped", "deduped", "shingles", "similarity"]

_WORDS = 3
"""Of a shingle."""

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
    return min(len(a & b) / len(a | b) for a, b in zip(one, other, strict=True))


def shingles(row: Row) -> Parts:
    """Each part's triples of words in a row; a shorter text is one of its own."""
    return tuple(frozenset(_triples(text.split())) for text in _texts(row))


def _unlike(rows: Sequence[Row], similar: float) -> list[Row]:
    """Rows none of which is too much like one before it.

    Where every part of two rows has a Jaccard similarity of t or more, so have all their members
    together; and two sets that do share one of the `n - ceil(t n) + 1` rarest members of either.
    Only rows that share one are compared.
    """
    if similar > 1:
        return list(rows)
    parts = [shingles(row) for row in rows]
    members = [[(n, one) for n, part in enumerate(own) for one in part] for own in parts]
    rarity = Counter(member for own in members for member in own)
    index: dict[tuple[int, str], list[int]] = {}
    kept = []
    for place, (row, own) in enumerate(zip(rows, members, strict=True)):
        rarest = sorted(own, key=lambda member: (rarity[member], member))
        prefix = rarest[: len(own) - math.ceil(similar * len(own)) + 1]
        candidates = {other for member in prefix for other in index.get(member, ())}
        if any(similarity(parts[place], parts[other]) >= similar for other in candidates):
            continue
        kept.append(row)
        for member in prefix:
            index.setdefault(member, []).append(place)
    return kept


def _kind(row: Row) -> str:
    if isinstance(row, Preference):
        return "pair"
    return "praise" if row.is_liked else "blame"


def _texts(row: Row) -> tuple[str, ...]:
    """Prompt and replies; equal for rows that differ in case and white space only."""
    replies = (row.chosen, row.rejected) if isinstance(row, Preference) else (row.reply,)
    return (" ".join(map(_text, row.prompt)), *map(_text, replies))


def _text(message: Message) -> str:
    calls = " ".join(f"{call.name} {call.arguments}" for call in message.tool_calls)
    return f"{message.role}: " + " ".join(f"{message.content} {calls}".casefold().split())


def _triples(words: Sequence[str]) -> list[str]:
    count = max(1, len(words) - _WORDS + 1)
    return [" ".join(words[start : start + _WORDS]) for start in range(count)]
