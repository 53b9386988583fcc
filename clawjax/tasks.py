"""Tasks that run together, and fail as one would."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

__all__ = ["task_group"]


@asynccontextmanager
async def task_group() -> AsyncIterator[asyncio.TaskGroup]:
    """An `asyncio.TaskGroup` that raises what failed first, as itself.

    The first failure, of a task or of the body, cancels the others, so it is the one to be told,
    and callers catch it by its class as if they had awaited that task alone. What else failed
    meanwhile is in the group that is its cause.
    """
    of_body: Exception | None = None
    try:
        async with asyncio.TaskGroup() as group:
            try:
                yield group
            except Exception as error:
                if not _is_being_cancelled():
                    of_body = error  # the group has it behind whatever the tasks end with
                raise
    except BaseExceptionGroup as failures:
        raise of_body or failures.exceptions[0] from failures


def _is_being_cancelled() -> bool:
    """Whether a task of the group has failed already, or somebody else wants this one to end."""
    this = asyncio.current_task()
    return this is not None and this.cancelling() > 0
