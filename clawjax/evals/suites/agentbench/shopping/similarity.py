"""Likeness of two texts by their sets of words, as `thefuzz.fuzz.token_set_ratio` computes it.

Words are compared as texts by their longest common subsequence: 200 * lcs / (len a + len b). Pure.
"""

from __future__ import annotations

import re

__all__ = ["token_set_ratio"]


def token_set_ratio(one: str, other: str) -> int:
    """0 to 100; 100 where the words of one are among those of the other."""
    a, b = set(_plain(one).split()), set(_plain(other).split())
    if not a or not b:
        return 0
    common = " ".join(sorted(a & b))
    only_a, only_b = " ".join(sorted(a - b)), " ".join(sorted(b - a))
    if common and (not only_a or not only_b):
        return 100
    with_a, with_b = (" ".join(filter(None, (common, each))) for each in (only_a, only_b))
    found = [_ratio(with_a, with_b)]
    if common:
        found += [_ratio(common, with_a), _ratio(common, with_b)]
    return round(max(found))


def _plain(text: str) -> str:
    ascii_only = "".join(c for c in text if ord(c) < 128)
    return re.sub(r"[\W_]", " ", ascii_only).lower().strip()


def _ratio(a: str, b: str) -> float:
    return 200.0 * _common(a, b) / (len(a) + len(b))


def _common(a: str, b: str) -> int:
    """Length of the longest common subsequence."""
    row = [0] * (len(b) + 1)
    for x in a:
        before = row
        row = [0]
        for place, y in enumerate(b, 1):
            row.append(before[place - 1] + 1 if x == y else max(before[place], row[-1]))
    return row[-1]
