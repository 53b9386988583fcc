"""A mirror of the metrics in a thread of its own: whoever asks it for something goes on at once.

Invariant: trouble with the mirror, being stuck included, is a warning and never stops a run.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

__all__ = ["Mirror", "Mirroring"]

logger = logging.getLogger(__name__)

_FINISH_TIMEOUT_S = 90.0
"""For beginning, sending the rest and uploading: each of them is bounded by less."""
_EVERY_S = 10.0
"""What is new is sent this often without being asked for."""


class Mirror(Protocol):
    """What is asked of a mirror, in the mirroring's thread alone."""

    def forward(self) -> int:
        """Send what is new."""
        ...

    def finish(
        self, *, summary: Mapping[str, Any] | None, plot: Path | None, is_failed: bool
    ) -> None:
        """Send the rest and close."""
        ...

    def abandon(self) -> None:
        """From another thread: end whatever keeps the two above from ending."""
        ...


class Mirroring:
    """Begins a mirror, has it forward what is new, and ends it; a context, at the latest then."""

    def __init__(
        self,
        begin: Callable[[], Mirror | None],
        *,
        timeout_s: float = _FINISH_TIMEOUT_S,
        every_s: float = _EVERY_S,
    ) -> None:
        """Begin at once; where `begin` gives None nothing is mirrored."""
        self._timeout_s = timeout_s
        self._every_s = every_s
        self._asked: queue.SimpleQueue[Callable[[Mirror], object] | None] = queue.SimpleQueue()
        self._is_due = threading.Event()
        self._is_finished = False
        self._mirror: Mirror | None = None
        self._thread = threading.Thread(
            target=self._work, args=(begin,), name="mirroring", daemon=True
        )
        self._thread.start()

    def __enter__(self) -> Self:
        """It has begun."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Finish, as failed where there is an error; unless it is finished."""
        if not self._is_finished:
            self.finish(is_failed=error is not None)

    def forward(self) -> None:
        """Have what is new sent; what was asked for before and is not yet done is done with it."""
        if not self._is_due.is_set():
            self._is_due.set()
            self._asked.put(self._forward)

    def finish(
        self,
        *,
        summary: Mapping[str, Any] | None = None,
        plot: Path | None = None,
        is_failed: bool = False,
    ) -> None:
        """Have the rest sent and the mirror closed; waits so long at most, and says if in vain."""
        self._is_finished = True
        self._asked.put(lambda it: it.finish(summary=summary, plot=plot, is_failed=is_failed))
        self._asked.put(None)
        self._thread.join(self._timeout_s)
        if self._thread.is_alive():
            logger.warning("the mirror of the metrics is stuck: what it lacks is in metrics.jsonl")
            if self._mirror is not None:
                self._mirror.abandon()

    def _forward(self, mirror: Mirror) -> None:
        self._is_due.clear()
        mirror.forward()

    def _next(self) -> Callable[[Mirror], object] | None:
        """What is asked for, or in time to forward; None at the end."""
        try:
            return self._asked.get(timeout=self._every_s)
        except queue.Empty:
            return lambda mirror: mirror.forward()

    def _work(self, begin: Callable[[], Mirror | None]) -> None:
        try:
            self._mirror = mirror = begin()
            while mirror is not None and (asked := self._next()) is not None:
                asked(mirror)
        except Exception:
            logger.exception("metrics are not mirrored any more: metrics.jsonl has them all")
