"""When a session ends, and what a new process knows of it."""

from dataclasses import replace

from clawjax.gateway.caller import Caller
from clawjax.records import (
    Message,
    NextStateKind,
    Origin,
)

from .helpers import assistant, talk, user


async def test_the_end_of_a_session_is_told(gateway):
    await talk(gateway, "a", "b", headers={"X-Session-Id": "mine"})
    await gateway.say(
        user("other topic"), n=2, headers={"X-Session-Id": "mine", "X-Session-Done": "1"}
    )
    turns = gateway.turns()
    kinds = [[event.kind for event in gateway.events(turn.turn_id)] for turn in turns]
    closed = [NextStateKind.SESSION_CLOSED]
    assert kinds == [[NextStateKind.USER], closed, closed, closed]
    assert {turn.session_id for turn in turns} == {"mine"}


async def test_idle_sessions_are_closed_once_and_can_go_on(make_gateway):
    now = [1000.0]
    gateway = make_gateway(clock=lambda: now[0], config={"session_idle_s": 60})
    (first,) = await talk(gateway, "a")
    now[0] += 59
    await gateway.collector.close_idle()
    assert gateway.events(first.turn_id) == ()
    now[0] += 1
    await gateway.collector.close_idle()
    await gateway.collector.close_idle()
    await gateway.say(user("a"), assistant("hello there"), user("b"))
    kinds = [event.kind for event in gateway.events(first.turn_id)]
    assert kinds == [NextStateKind.SESSION_CLOSED, NextStateKind.USER]


async def test_a_clock_that_goes_back_closes_nothing_early_and_keeps_nothing_open(make_gateway):
    now = [10_000.0]
    gateway = make_gateway(clock=lambda: now[0], config={"session_idle_s": 60})
    (first,) = await talk(gateway, "a")
    now[0] = 1000.0
    await gateway.collector.close_idle()
    assert gateway.events(first.turn_id) == (), "its clock begins anew"
    now[0] += 59
    second = await gateway.say(user("a"), assistant("hello there"), user("b"))
    assert second["session_id"] == first.session_id
    now[0] += 61
    await gateway.collector.close_idle()
    (answered, closed) = (gateway.events(turn.turn_id) for turn in gateway.turns())
    assert [event.kind for event in answered] == [NextStateKind.USER]
    assert [event.kind for event in closed] == [NextStateKind.SESSION_CLOSED]


async def test_a_new_process_goes_on_where_the_last_one_was_killed(make_gateway):
    before = make_gateway()
    first, second = await talk(before, "a", "b")
    after = make_gateway(["later"])
    await after.collector.rebuild()
    history = [user("a"), assistant("hello there"), user("b"), assistant("second reply")]
    body = await after.say(*history, user("c"))
    third = after.turns()[2]
    assert body["session_id"] == first.session_id
    assert third.parent_turn_id == second.turn_id
    whole = second.prompt_ids + second.response_ids
    assert third.prompt_ids[: len(whole)] == whole
    (reaction,) = after.events(second.turn_id)
    assert reaction.messages[0].content == "c"


async def test_a_new_process_knows_a_conversation_whose_reply_died_with_the_last_one(make_gateway):
    """The reaction was linked, its reply was not made: the client sends the same again."""
    before = make_gateway(["hello there"])
    (first,) = await talk(before, "a")
    history = [user("a"), assistant("hello there"), user("b")]
    caller = Caller(first.scope, Origin(client="python-httpx"))
    messages = (*first.messages, first.reply, Message("user", "b"))
    with before.collector.visit(caller, messages, None, 5.0) as visit:
        await before.collector.link(visit)  # and then: kill -9
    after = make_gateway(["later"])
    await after.collector.rebuild()
    body = await after.say(*history, headers={"x-stainless-retry-count": "1"})
    assert body["session_id"] == first.session_id
    assert after.turns()[1].parent_turn_id == first.turn_id
    assert [event.kind for event in after.events(first.turn_id)] == [NextStateKind.USER]
    assert "unknown_shapes" not in after.log.counters()


async def test_a_new_process_closes_no_session_twice(make_gateway):
    now = [1000.0]
    for _ in range(2):
        gateway = make_gateway(clock=lambda: now[0], config={"session_idle_s": 60})
        await gateway.collector.rebuild()
        if not gateway.turns():
            await talk(gateway, "a")
        now[0] += 10_000
        await gateway.collector.close_idle()
    (turn,) = gateway.turns()
    assert [event.kind for event in gateway.events(turn.turn_id)] == [NextStateKind.SESSION_CLOSED]


async def test_a_new_process_closes_what_it_has_no_room_for(make_gateway):
    before = make_gateway(["a reply of some length"])
    for number in range(6):
        await before.say(user(f"question {number}"))
    before.log.append(replace(before.turns()[0], turn_id="unplaced", response_id="unplaced"))
    weights = [len(turn.prompt_ids) + len(turn.response_ids) for turn in before.turns()]
    after = make_gateway()
    after.collector._tree.max_tokens = sum(weights[-4:])
    await after.collector.rebuild()
    kinds = [[event.kind for event in after.events(turn.turn_id)] for turn in after.turns()]
    closed = [NextStateKind.SESSION_CLOSED]
    assert kinds == [closed, closed, closed, [], [], [], closed]
    assert after.collector.sessions.counts() == {"remembered": 3, "open": 3, "in_use": 0}
    assert after.woken == [0], "the judges are told"
    after.collector._tree.max_tokens *= 10
    for turn in after.turns()[2:4]:
        await after.say(user(turn.messages[0].content), assistant(turn.reply.content), user("b"))
    parents = [turn.parent_turn_id for turn in after.turns()[-2:]]
    assert parents == [None, after.turns()[3].turn_id]
