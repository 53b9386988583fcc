"""Which rows a batch is made of, by who judged them.

Invariant: a batch is a function of its number, so that a run that was interrupted goes on with the
batch that it would have had. Within a provenance every row comes once before any comes again.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence

from clawjax.data.preferences import Provenance, Row
from clawjax.errors import DataError

__all__ = ["Mixture", "shares"]


class Mixture:
    """Rows in batches, each provenance with its weight."""

    def __init__(
        self,
        rows: Sequence[Row],
        *,
        weights: Mapping[str, float] | None = None,
        caps: Mapping[str, int] | None = None,
        is_once: bool = False,
        seed: int = 0,
    ) -> None:
        """Prepare to mix.

        Args:
            rows: at least one.
            weights: what share of the batches a provenance has, relative to the others; empty or
                None: in proportion to its rows, so that every row comes equally often. Where some
                are named, all others are left out.
            caps: at most so many rows of a provenance are used, chosen by the seed.
            is_once: as many rows as there are make up the batches, the last of which may be
                shorter; else they go on without end, each as long as the others.
            seed: of the choice and the order.

        Raises:
            DataError: nothing is left, or a weight or cap is of no provenance or below 0.
        """
        _check(weights or {}, "weights")
        _check(caps or {}, "caps")
        self._seed, self._is_once = seed, is_once
        self._pools: dict[str, tuple[Row, ...]] = {}
        for provenance in Provenance:
            pool = [row for row in rows if row.provenance is provenance]
            random.Random(f"cap:{seed}:{provenance}").shuffle(pool)
            pool = pool[: (caps or {}).get(provenance, len(pool))]
            weight = weights.get(provenance, 0.0) if weights else float(len(pool))
            if pool and weight > 0:
                self._pools[provenance] = tuple(pool)
        if not self._pools:
            msg = (
                f"{len(rows)} rows, weights {dict(weights or {})} and caps {dict(caps or {})} "
                "leave nothing to learn from: change them, or give other files"
            )
            raise DataError(msg)
        wanted = {n: (weights or {}).get(n, len(pool)) for n, pool in self._pools.items()}
        total = sum(wanted.values())
        self._shares = [(name, weight / total) for name, weight in wanted.items()]
        self._place = 0
        """Of the row that comes next, and how many came before of each provenance."""
        self._taken: Counter[str] = Counter()
        self._orders: dict[str, tuple[int, list[int]]] = {}

    @property
    def size(self) -> int:
        """Rows that are used."""
        return sum(map(len, self._pools.values()))

    def batch(self, number: int, size: int) -> list[Row]:
        """Batch `number`, from 0, of batches of `size`, or of what is left."""
        start = number * size
        end = self._end(start + size)
        if start < self._place:
            self._place, self._taken = 0, Counter()
        while self._place < start:
            self._next()
        return [self._next() for _ in range(end - start)]

    def epochs(self, batches: int, size: int) -> float:
        """How often every row has been taken after so many batches of `size`, if all alike."""
        return self._end(batches * size) / self.size

    def _end(self, place: int) -> int:
        return min(place, self.size) if self._is_once else place

    def _next(self) -> Row:
        """The next row of the endless sequence: of whoever is furthest behind their share."""
        self._place += 1
        behind = {name: share * self._place - self._taken[name] for name, share in self._shares}
        name = max(behind, key=behind.__getitem__)
        pool = self._pools[name]
        epoch, offset = divmod(self._taken[name], len(pool))
        self._taken[name] += 1
        return pool[self._order(name, epoch)[offset]]

    def _order(self, name: str, epoch: int) -> list[int]:
        if self._orders.get(name, (-1, []))[0] != epoch:
            order = list(range(len(self._pools[name])))
            random.Random(f"order:{self._seed}:{name}:{epoch}").shuffle(order)
            self._orders[name] = (epoch, order)
        return self._orders[name][1]


def shares(rows: Sequence[Row]) -> dict[str, float]:
    """The share of each provenance, by metric key; those that are absent have 0."""
    counts = Counter(row.provenance for row in rows)
    return {f"data/share/{name.value}": counts[name] / len(rows) for name in Provenance}


def _check(numbers: Mapping[str, float], what: str) -> None:
    for name, number in numbers.items():
        if name not in tuple(Provenance) or number < 0:
            msg = (
                f"{what} has {name}: {number}: name {', '.join(Provenance)}, with numbers that are "
                "not below 0"
            )
            raise DataError(msg)
