"""Which tokens the cache still holds, so that a prompt is read only from where it is new.

Owns the account of the cache's rows: the first ones decode, the others only keep what would be
overwritten. Invariants: what a row is said to hold was computed by the weights in use; of what is
kept, the least recently used goes first; nothing is found, or known to be kept, across scopes, so
that one caller's waiting tells nothing of another's prompt. Plain bookkeeping: knows no device.
"""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import numpy as np

__all__ = ["Copy", "PrefixTable", "RowPlan"]


class Copy(NamedTuple):
    """The first `length` positions of one row go to another."""

    source: int
    target: int
    length: int


class RowPlan(NamedTuple):
    """What to do before a prompt is read into its row."""

    copies: tuple[Copy, ...]
    """In this order: what is worth keeping goes away first, what the prompt begins with comes."""
    held: int
    """Prompt tokens that need not be read then; at least one is always left to read."""


class PrefixTable:
    """Tokens by row; `slots` rows that decode, then `kept` rows that store."""

    def __init__(
        self, slots: int, kept: int, *, shortest: int = 16, is_reusing: bool = True
    ) -> None:
        """Nothing is held yet; fewer than `shortest` tokens are not worth a copy.

        Unless `is_reusing`, no row is ever looked at for what it holds.
        """
        self._slots = slots
        self._shortest = shortest if is_reusing else math.inf
        self._rows: list[np.ndarray] = [_NOTHING] * (slots + kept)
        self._scopes: list[str | None] = [None] * (slots + kept)
        """Whose tokens a row holds."""
        self._used = [0] * (slots + kept)
        self._clock = itertools.count(1)

    def held(self, row: int) -> int:
        """How many positions of a row must not be overwritten."""
        return len(self._rows[row])

    def hold(self, row: int, tokens: np.ndarray) -> None:
        """A row now holds these tokens `[T]` and nothing else, of the scope it was placed for."""
        self._rows[row] = tokens
        self._used[row] = next(self._clock)

    def forget(self) -> None:
        """Nothing in the cache is of any use: the weights have changed."""
        self._rows = [_NOTHING] * len(self._rows)

    def place(self, prompt: np.ndarray, row: int, scope: str | None = None) -> RowPlan:
        """Make room for a prompt `[T]` in a row; find where its beginning is held for its scope.

        The account is brought up to date as if the copies were done, and the row holds what the
        prompt shares with it.
        """
        source, shared = self._longest(prompt, row, scope)
        copies = self._save(row, keeps=shared if source == row else 0, spare=source)
        if source != row and shared:
            copies.append(Copy(source, row, shared))
            self._used[source] = next(self._clock)
        self._scopes[row] = scope
        self.hold(row, prompt[:shared])
        return RowPlan(tuple(copies), shared)

    def _longest(self, prompt: np.ndarray, row: int, scope: str | None) -> tuple[int, int]:
        """Which row shares most with the prompt, its own where that is as good; and how much."""
        shared = [
            _shared(tokens, prompt[:-1]) if self._scopes[index] == scope else 0
            for index, tokens in enumerate(self._rows)
        ]
        best = max(range(len(shared)), key=lambda other: (shared[other], other == row))
        return (best, shared[best]) if shared[best] >= self._shortest else (row, 0)

    def _save(self, row: int, *, keeps: int, spare: int) -> list[Copy]:
        """Store what a row holds beyond the first `keeps` tokens, unless another row has it too.

        The row `spare` is not overwritten.
        """
        tokens, scope = self._rows[row], self._scopes[row]
        others = [
            other
            for index, other in enumerate(self._rows)
            if index != row and self._scopes[index] == scope
        ]
        is_known = any(_shared(other, tokens) == len(tokens) for other in others)
        stores = [store for store in range(self._slots, len(self._rows)) if store != spare]
        if len(tokens) - keeps < self._shortest or is_known or not stores:
            return []
        store = min(stores, key=lambda other: (len(self._rows[other]) > 0, self._used[other]))
        self._rows[store], self._used[store] = tokens, self._used[row]
        self._scopes[store] = scope
        return [Copy(row, store, len(tokens))]


_NOTHING = np.zeros(0, np.int32)


def _shared(held: np.ndarray, tokens: np.ndarray) -> int:
    """Length of the common beginning."""
    size = min(len(held), len(tokens))
    differs = held[:size] != tokens[:size]
    return int(differs.argmax()) if differs.any() else size
