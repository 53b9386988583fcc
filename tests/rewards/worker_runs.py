"""Turns for a judging loop, and the loop while it runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from turn_records import make_turn

from clawjax.log.store import SqlTurnLog
from clawjax.rewards.worker import JudgeWorker

from .reward_records import user_says


def link(log: SqlTurnLog, *names: str) -> None:
    for name in names:
        log.append(make_turn(name), user_says(f"about {name}", turn_id=name))


@asynccontextmanager
async def running(worker: JudgeWorker) -> AsyncIterator[None]:
    task = asyncio.create_task(worker.run())
    try:
        yield
    finally:
        task.cancel()
        async with asyncio.timeout(10):
            with pytest.raises(asyncio.CancelledError):
                await task


async def until(condition: Callable[[], bool], *, timeout_s: float = 10.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)
