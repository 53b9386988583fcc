"""Tasks that run together, and fail as one would."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

__all__ = ["task_group"]


@asynccontextmanager
async def task_group() -> AsyncIterator[asyncio.TaskGroup]:
    """An `asyncio.TaskGroup` that raises what failed first, as itself.

    The first failure cancels the other tasks, so it is the one to be told, and callers catch it
    by its class as if they had awaited that task alone. What else failed meanwhile is in the group
    that is its cause.
    """
    try:
        async with asyncio.TaskGroup() as group:
            yield group
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from failures
