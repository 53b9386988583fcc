"""Replies that did not arrive, or that could not be kept."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import pytest

from clawjax.gateway.caller import Caller
from clawjax.records import (
    DropReason,
    LinkKind,
    Message,
    NextState,
    NextStateKind,
    Origin,
    Turn,
)

from .helpers import FailingLog, assistant, talk, user


@contextmanager
def no_free_threads() -> Iterator[Callable[[], None]]:
    """Nothing is written before what this gives is called."""
    busy = threading.Event()
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(1))
    loop.run_in_executor(None, busy.wait)
    try:
        yield busy.set
    finally:
        busy.set()


async def test_a_client_that_leaves_does_not_take_its_records_along(gateway):
    """Even where all threads are busy and no write has begun."""
    (first,) = await talk(gateway, "a")
    second = replace(first, turn_id="second", parent_turn_id=first.turn_id)
    caller = Caller(first.scope, Origin(client="python-httpx", key=first.session_id))
    history = (*first.messages, first.reply, Message("user", "b"))
    visiting = gateway.collector.visit(caller, history, None, first.finished_at)
    with no_free_threads() as set_free, visiting as visit:
        writes = [gateway.collector.link(visit), gateway.collector.commit(visit, second)]
        tasks = [asyncio.create_task(write) for write in writes]
        await asyncio.sleep(0.01)
        for task in tasks:
            task.cancel()
        await asyncio.sleep(0.01)
        set_free()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert all(task.cancelled() for task in tasks)
    assert [event.messages[0].content for event in gateway.events(first.turn_id)] == ["b"]
    assert [turn.turn_id for turn in gateway.turns()] == [first.turn_id, "second"]


async def test_cancelled_turns_are_not_recognised_after_a_restart(make_gateway):
    gateway = make_gateway(token_delay_s=0.4, config={"request_timeout_s": 1})
    await gateway.chat(user("a"))
    (cancelled,) = gateway.turns()
    after = make_gateway()
    await after.collector.rebuild()
    await after.say(user("a"), assistant(cancelled.reply.content), user("b"))
    assert after.events(cancelled.turn_id) == ()


async def test_a_retry_drops_the_reply_that_did_not_arrive(gateway):
    await gateway.say(user("a"))
    await gateway.say(user("a"), headers={"x-stainless-retry-count": "1"})
    first, second = gateway.turns()
    assert gateway.log.outcome(first.turn_id).drop_reason is DropReason.RETRIED
    assert gateway.log.outcome(second.turn_id) is None
    assert gateway.log.links([second.turn_id])[second.turn_id].of_turn_id == first.turn_id
    assert second.session_id == first.session_id


async def test_a_retry_drops_all_choices_that_did_not_arrive(gateway):
    await gateway.say(user("other"))
    await gateway.say(user("a"), n=3)
    await gateway.say(user("a"), n=2, headers={"x-stainless-retry-count": "1"})
    ends = [gateway.log.outcome(turn.turn_id) for turn in gateway.turns()]
    dropped = [end is not None and end.drop_reason is DropReason.RETRIED for end in ends]
    assert dropped == [False, True, True, True, False, False]


async def test_a_reply_whose_delivery_broke_off_did_not_arrive(gateway):
    (first,) = await talk(gateway, "a")
    caller = Caller(first.scope, Origin(client="python-httpx"))
    lost = replace(first, turn_id="lost", messages=(Message("user", "b"),))

    async def break_off():
        with visiting(gateway, caller, "b") as visit:
            await gateway.collector.commit(
                visit, replace(lost, session_id=visit.session.session_id)
            )
            raise ConnectionError

    with pytest.raises(ConnectionError):
        await break_off()
    with visiting(gateway, caller, "b") as visit:
        assert visit.placement.kind is LinkKind.RETRY
        await gateway.collector.link(visit)
    assert gateway.log.outcome("lost").drop_reason is DropReason.RETRIED


async def test_a_client_that_leaves_while_its_reply_is_committed_did_not_get_it(gateway):
    """And what had to make room in memory is closed all the same."""
    (first,) = await talk(gateway, "a")
    gateway.collector._tree.max_turns = 1
    caller = Caller(first.scope, Origin(client="python-httpx"))
    lost = replace(first, turn_id="lost", response_id="lost", messages=(Message("user", "b"),))

    async def serve():
        with visiting(gateway, caller, "b") as visit:
            turn = replace(lost, session_id=visit.session.session_id)
            await gateway.collector.commit(visit, turn)

    with no_free_threads() as set_free:
        task = asyncio.create_task(serve())
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.sleep(0.01)
        set_free()
        await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()
    assert [event.kind for event in gateway.events(first.turn_id)] == [NextStateKind.SESSION_CLOSED]
    assert len(gateway.collector.sessions) == 1
    with visiting(gateway, caller, "b") as visit:
        assert visit.placement.kind is LinkKind.RETRY
        await gateway.collector.link(visit)
    assert gateway.log.outcome("lost").drop_reason is DropReason.RETRIED


def visiting(gateway, caller: Caller, text: str):
    return gateway.collector.visit(caller, (Message("user", text),), None, 5.0)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_reply_that_cannot_be_kept_is_not_given(make_gateway, log, stream):
    gateway = make_gateway(with_log=FailingLog(log, Turn))
    response = await gateway.chat(user("a"), stream=stream)
    if stream:
        assert "[DONE]" not in response.text
        assert '"finish_reason":"stop"' not in response.text
        assert '"type":"server_error"' in response.text
    else:
        assert response.status_code == 500
    assert gateway.turns() == []
    assert gateway.log.counters() == {"requests": 1, "non_2xx": 1}


async def test_a_reaction_that_cannot_be_kept_is_linked_by_the_retry(make_gateway, log):
    failing = FailingLog(log, ())
    gateway = make_gateway(with_log=failing)
    (first,) = await talk(gateway, "a")
    failing.refused = NextState
    history = [user("a"), assistant("hello there"), user("b")]
    assert (await gateway.chat(*history)).status_code == 500
    assert len(gateway.engine.requests) == 1
    failing.refused = ()
    await gateway.say(*history)
    assert [event.kind for event in gateway.events(first.turn_id)] == [NextStateKind.USER]
