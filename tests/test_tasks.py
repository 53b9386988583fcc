"""Tasks that run together fail as one would."""

import asyncio

import pytest

from clawjax.errors import EngineError, LogError
from clawjax.tasks import task_group


async def test_the_first_failure_is_raised_as_itself_and_ends_the_others():
    ended = []

    async def fail():
        raise EngineError("first")

    async def wait():
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise LogError("later") from None

    async def both():
        async with task_group() as group:
            group.create_task(wait())
            await asyncio.sleep(0)
            group.create_task(fail())

    with pytest.raises(EngineError, match="first") as failed:
        await both()
    assert ended == ["cancelled"]
    assert [str(one) for one in failed.value.__cause__.exceptions] == ["first", "later"]


async def test_a_failure_of_the_body_ends_the_tasks_and_is_raised_as_itself():
    tasks = []

    async def begin():
        async with task_group() as group:
            tasks.append(group.create_task(asyncio.sleep(60)))
            raise EngineError("body")

    with pytest.raises(EngineError, match="body"):
        await begin()
    assert tasks[0].cancelled()


async def test_what_ends_badly_after_the_body_failed_is_not_the_first_failure():
    async def wait():
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            raise LogError("later") from None

    async def begin():
        async with task_group() as group:
            group.create_task(wait())
            await asyncio.sleep(0)
            raise EngineError("body")

    with pytest.raises(EngineError, match="body") as failed:
        await begin()
    assert [str(one) for one in failed.value.__cause__.exceptions] == ["later", "body"]


async def test_what_the_body_makes_of_being_cancelled_is_not_the_first_failure():
    async def fail():
        raise EngineError("first")

    async def begin():
        async with task_group() as group:
            group.create_task(fail())
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                raise LogError("later") from None

    with pytest.raises(EngineError, match="first"):
        await begin()


async def test_who_is_cancelled_is_cancelled():
    async def both():
        async with task_group() as group:
            group.create_task(asyncio.sleep(60))

    running = asyncio.create_task(both())
    await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
