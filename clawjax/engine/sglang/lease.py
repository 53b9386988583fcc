"""A pause that ends: whatever happens inside, the server is continued afterwards.

Invariants: a server that may have been paused is told to continue, also after an error, a
cancellation or the end of the time limit; neither call is cut short by a cancellation, so that a
pause cannot arrive after the continuation that was to end it; a cancellation is passed on.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from clawjax.engine.sglang.delivery_plan import Pause
from clawjax.errors import EngineError

__all__ = ["Calls", "Lease", "continue_generation", "paused"]

logger = logging.getLogger(__name__)

_ATTEMPTS = 3


class Calls(Protocol):
    """One server, asked one thing at a time."""

    async def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, object] | None = None,
        *,
        timeout_s: float,
    ) -> dict[str, object]:
        """The answer.

        Raises:
            EngineError: none, or a refusal, in the server's words.
        """
        ...


@dataclass(slots=True)
class Lease:
    """How long a server stood still."""

    seconds: float | None = None
    """From asking for the pause to the answer that it is over; None until then."""


@asynccontextmanager
async def paused(
    server: Calls,
    mode: Pause,
    *,
    limit_s: float,
    timeout_s: float,
    retry_s: float,
    lease_s: float | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> AsyncGenerator[Lease]:
    """Hold a server still, for `limit_s` at most.

    Args:
        server: whom to ask.
        mode: what becomes of running requests.
        limit_s: what is inside is ended after so long.
        timeout_s: of the calls that pause and continue.
        retry_s: between two attempts to continue.
        lease_s: after which the server is to continue by itself, should this process be gone;
            None for servers that do not know how to.
        clock: of the lease's seconds.

    Raises:
        EngineError: it cannot be paused, the limit has passed, or it does not continue (then it
            is to be taken out of rotation; what went wrong before is this error's context).
    """
    lease, began = Lease(), clock()
    try:
        body = {"mode": str(mode)} | ({} if lease_s is None else {"lease_s": lease_s})
        pause = server.call("POST", "/pause_generation", body, timeout_s=timeout_s)
        await _to_its_end(pause)
        try:
            async with asyncio.timeout(limit_s):
                yield lease
        except TimeoutError as error:
            msg = (
                f"the server was paused for {limit_s:g} s and is continued without new weights: "
                "raise engine.sglang.delivery.max_pause_s if loading takes longer"
            )
            raise EngineError(msg) from error
    except asyncio.CancelledError:
        await _continue_quietly(server, timeout_s, retry_s)
        raise
    except BaseException:
        await _to_its_end(continue_generation(server, timeout_s=timeout_s, retry_s=retry_s))
        raise
    await _to_its_end(continue_generation(server, timeout_s=timeout_s, retry_s=retry_s))
    lease.seconds = clock() - began


async def continue_generation(server: Calls, *, timeout_s: float, retry_s: float) -> None:
    """End a pause, if there is one; harmless otherwise, so it may be asked for at any time.

    Raises:
        EngineError: after some attempts; the server may still be paused.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            await server.call("POST", "/continue_generation", {}, timeout_s=timeout_s)
        except EngineError as error:
            if attempt == _ATTEMPTS:
                msg = (
                    f"the server may still be paused, {_ATTEMPTS} calls to continue have failed "
                    f"({error}): it is not to be used before /continue_generation succeeds"
                )
                raise EngineError(msg) from error
            await asyncio.sleep(retry_s)
        else:
            return


async def _continue_quietly(server: Calls, timeout_s: float, retry_s: float) -> None:
    """While a cancellation is under way, which an error must not replace."""
    try:
        await _to_its_end(continue_generation(server, timeout_s=timeout_s, retry_s=retry_s))
    except EngineError as error:
        logger.error("%s", error)


async def _to_its_end(work: Coroutine[Any, Any, object]) -> None:
    """Wait for something that has a timeout of its own; a cancellation is passed on afterwards.

    It goes before whatever the work fails with.
    """
    task = asyncio.ensure_future(work)
    is_cancelled = False
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            is_cancelled = True
    if is_cancelled:
        if not task.cancelled():
            task.exception()  # seen
        raise asyncio.CancelledError
    task.result()
