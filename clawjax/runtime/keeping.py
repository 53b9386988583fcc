"""Keeps the loops inside a process going: one that fails is started again, alone.

Invariants: no loop's failure is another's; a loop that keeps failing is left stopped, with its last
words in `status`, while the rest goes on; what only a new process can mend is passed on.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

from clawjax.errors import ClawError, EngineError, LogError, StoreError
from clawjax.runtime.patience import Patience

__all__ = ["LoopKeeper"]

logger = logging.getLogger(__name__)

_STORAGE_WAIT_S = 5.0
"""A place on disk that failed is tried again after so long at most."""


class LoopKeeper:
    """The loops of this process, by name."""

    def __init__(
        self,
        *,
        max_restarts: int,
        max_wait_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start each loop again up to `max_restarts` times in a row, after growing pauses."""
        self._max_restarts = max_restarts
        self._max_wait_s = max_wait_s
        self._clock = clock
        self._troubles: dict[str, dict[str, Any]] = {}

    @property
    def troubles(self) -> dict[str, dict[str, Any]]:
        """State, restarts and reason of the loops that do not run as they should, by name."""
        return {name: dict(trouble) for name, trouble in self._troubles.items()}

    async def keep(self, name: str, loop: Callable[[], Awaitable[object]]) -> None:
        """Run a loop until it returns, is cancelled, or has failed too often.

        Raises:
            EngineError: the engine has stopped; only a new process helps.
        """
        patience = Patience(self._max_restarts, self._max_wait_s, self._clock())
        while True:
            try:
                await loop()
            except EngineError:
                raise
            except Exception as error:  # whatever it is: the other loops go on
                wait_s = self._after(name, error, patience)
            else:
                self._troubles.pop(name, None)
                return
            if wait_s is None:
                return
            await asyncio.sleep(wait_s)
            self._troubles.pop(name, None)

    def _after(self, name: str, error: Exception, patience: Patience) -> float | None:
        """Say what has happened; seconds to the next try, None where there is none."""
        is_storage = isinstance(error, LogError | StoreError)
        wait_s = patience.wait_s(self._clock(), counts=not is_storage)
        # `/healthz` is open to all, and the text of what nobody expected may be anything.
        unexpected = f"an unexpected {type(error).__name__}, see the process's log"
        reason = str(error) if isinstance(error, ClawError) else unexpected
        detail = None if is_storage else error
        if wait_s is None:
            reason = f"{name} failed {patience.restarts + 1} times, the rest goes on: {reason}"
            logger.error("%s", reason, exc_info=detail)
            self._troubles[name] = self._told("stopped", patience, reason)
            return None
        wait_s = min(wait_s, _STORAGE_WAIT_S) if is_storage else wait_s
        logger.error("%s begins again in %.0f s: %s", name, wait_s, reason, exc_info=detail)
        self._troubles[name] = self._told("restarting", patience, reason)
        return wait_s

    def _told(self, state: str, patience: Patience, reason: str) -> dict[str, Any]:
        return {"state": state, "restarts": patience.restarts, "reason": reason}
