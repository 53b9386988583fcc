"""Counting many requests in few transactions."""

import asyncio
import threading

import pytest

from clawjax.errors import LogError
from clawjax.gateway.counting import Counting


async def test_what_comes_while_one_is_written_is_written_together():
    written: list[tuple[str, int]] = []
    is_open = threading.Event()

    def count(name: str, n: int) -> None:
        assert is_open.wait(10)
        written.append((name, n))

    counting = Counting(count)
    first = asyncio.ensure_future(counting.add(["requests"]))
    await asyncio.sleep(0.05)
    others = [asyncio.ensure_future(counting.add(["requests"])) for _ in range(7)]
    others.append(asyncio.ensure_future(counting.add(["requests", "non_2xx"])))
    await asyncio.sleep(0.05)
    assert written == []
    assert not any(task.done() for task in [first, *others])
    is_open.set()
    await asyncio.gather(first, *others)
    assert written == [("requests", 1), ("requests", 8), ("non_2xx", 1)]
    await counting.add(["requests"])
    assert written[-1] == ("requests", 1)


async def test_a_caller_that_leaves_is_counted():
    written: list[str] = []
    counting = Counting(lambda name, n: written.append(name))
    leaving = asyncio.ensure_future(counting.add(["requests"]))
    await asyncio.sleep(0)
    leaving.cancel()
    await counting.add(["other_requests"])
    assert sorted(written) == ["other_requests", "requests"]


async def test_everybody_is_told_of_a_log_that_cannot_be_written():
    def count(name: str, n: int) -> None:
        msg = "disk is full"
        raise LogError(msg)

    counting = Counting(count)
    found = await asyncio.gather(*(counting.add(["a"]) for _ in range(3)), return_exceptions=True)
    assert [type(error) for error in found] == [LogError] * 3
    with pytest.raises(LogError):
        await counting.add(["a"])
