"""Persistent counters without a transaction per request.

Invariant: when `add` returns, what was added is in the log. What is added while a transaction is
being written goes into the next one, together.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable

__all__ = ["Counting"]


class Counting:
    """Adds up on the event loop, writes in worker threads, one transaction at a time."""

    def __init__(self, count: Callable[[str, int], None]) -> None:
        """Write with `count(name, n)`."""
        self._count = count
        self._waiting: Counter[str] = Counter()
        self._next: asyncio.Future[None] | None = None
        """Will write what is waiting."""
        self._one_at_a_time = asyncio.Lock()

    async def add(self, names: Iterable[str]) -> None:
        """Add one to each name; goes on to its end when the caller is cancelled.

        Raises:
            LogError: the log cannot be written; nothing of this transaction is counted.
        """
        self._waiting.update(names)
        if self._next is None:
            self._next = asyncio.ensure_future(self._write())
        await asyncio.shield(self._next)

    async def _write(self) -> None:
        async with self._one_at_a_time:
            batch, self._waiting, self._next = self._waiting, Counter(), None
            await asyncio.to_thread(self._write_all, batch)

    def _write_all(self, batch: Counter[str]) -> None:
        for name, n in batch.items():
            self._count(name, n)
