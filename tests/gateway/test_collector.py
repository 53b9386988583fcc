"""What is kept of a conversation, and when."""

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
    FinishReason,
    LinkKind,
    Message,
    NextState,
    NextStateKind,
    Origin,
    Turn,
    TurnKind,
)

from .helpers import FailingLog, assistant, user


async def talk(gateway, *texts, **options):
    """Hold a conversation; returns the turns it left."""
    messages = []
    for text in texts:
        messages.append(user(text))
        body = await gateway.say(*messages, **options)
        messages.append(body["choices"][0]["message"])
    return gateway.turns()


async def test_a_conversation_is_one_session_of_linked_turns(gateway):
    first, second, third = await talk(gateway, "a", "b", "c")
    assert len({first.session_id, second.session_id, third.session_id}) == 1
    assert [first.parent_turn_id, second.parent_turn_id] == [None, first.turn_id]
    (reaction,) = gateway.events(first.turn_id)
    assert (reaction.kind, reaction.score) == (NextStateKind.USER, None)
    assert [message.content for message in reaction.messages] == ["b"]
    assert gateway.events(third.turn_id) == ()


async def test_a_prompt_continues_the_ids_of_the_turn_before(gateway):
    first, second, third = await talk(gateway, "a", "b", "c")
    for before, after in ((first, second), (second, third)):
        whole = before.prompt_ids + before.response_ids
        assert after.prompt_ids[: len(whole)] == whole
        assert len(after.prompt_ids) > len(whole)
    assert third.prompt_ids == gateway.engine.requests[2].prompt_ids


async def test_judges_are_woken_before_the_next_reply_is_begun(gateway):
    await talk(gateway, "a", "b")
    assert gateway.woken == [1]  # one request had reached the engine, the second had not


async def test_an_edited_history_forks(gateway):
    first, second = await talk(gateway, "a", "b")
    history = [user("a"), assistant("hello here"), user("b")]
    forked = await gateway.say(*history, session_id=first.session_id)
    third = gateway.turns()[2]
    assert (forked["session_id"], third.parent_turn_id) == (first.session_id, None)
    assert gateway.events(second.turn_id) == ()
    link = gateway.log.links([third.turn_id])[third.turn_id]
    assert (link.kind, link.of_turn_id, link.at) == (LinkKind.BRANCH, first.turn_id, 1)
    foreign = [user("a"), assistant("somebody else's words"), user("b")]
    elsewhere = await gateway.say(*foreign)
    assert elsewhere["session_id"] != first.session_id


async def test_asking_again_is_a_resample_not_a_reaction(gateway):
    first, second = await talk(gateway, "a", "b")
    again = await gateway.say(user("a"), assistant("hello there"), user("b"))
    third = gateway.turns()[2]
    assert again["session_id"] == first.session_id
    assert third.parent_turn_id == first.turn_id == second.parent_turn_id
    assert third.prompt_ids == second.prompt_ids
    assert len(gateway.events(first.turn_id)) == 1
    assert (await gateway.say(user("a")))["session_id"] != first.session_id


async def test_twin_requests_bring_one_reaction(gateway):
    (first,) = await talk(gateway, "a")
    history = [user("a"), assistant("hello there"), user("b")]
    await asyncio.gather(*(gateway.say(*history) for _ in range(3)))
    assert len(gateway.events(first.turn_id)) == 1
    assert len(gateway.turns()) == 4


@pytest.mark.parametrize("is_restarted", [False, True])
async def test_words_after_words_that_got_no_whole_reply_reach_the_judges(
    make_gateway, is_restarted
):
    history = [user("a"), (await make_gateway().say(user("a")))["choices"][0]["message"]]
    slow = make_gateway(token_delay_s=0.4, config={"request_timeout_s": 1})
    await slow.collector.rebuild()
    await slow.chat(*history, user("one moment"))
    after = make_gateway() if is_restarted else slow
    if is_restarted:
        await after.collector.rebuild()
    for _ in range(2):
        await after.chat(*history, user("one moment"), user("it is wrong"))
    first, cut, *_ = after.turns()
    assert cut.finish_reason is FinishReason.CANCELLED
    said = [[m.content for m in event.messages] for event in after.events(first.turn_id)]
    assert said == [["one moment"], ["one moment", "it is wrong"]]


async def test_the_choices_that_were_not_gone_on_from_wait_for_nothing(gateway):
    body = await gateway.say(user("a"), n=3)
    history = [user("a"), body["choices"][1]["message"]]
    await gateway.say(*history, user("b"))
    kinds = {
        turn.choice: [e.kind for e in gateway.events(turn.turn_id)] for turn in gateway.turns()[:3]
    }
    closed, answered = [NextStateKind.SESSION_CLOSED], [NextStateKind.USER]
    assert sorted(kinds.values()) == [closed, closed, answered]
    other = next(turn for turn in gateway.turns()[:3] if kinds[turn.choice] == closed)
    await gateway.say(user("a"), assistant(other.reply.content), user("c"))
    assert len(gateway.events(other.turn_id)) == 2  # it can be gone on from all the same


async def test_a_reply_that_was_asked_for_again_waits_for_nothing_once_the_other_is_answered(
    gateway,
):
    first, *_ = await talk(gateway, "a", "b")
    history = [user("a"), assistant(first.reply.content), user("b")]
    again = await gateway.say(*history)
    await gateway.say(*history, again["choices"][0]["message"], user("c"))
    _, second, third, _ = gateway.turns()
    kinds = [[e.kind for e in gateway.events(turn.turn_id)] for turn in (second, third)]
    assert kinds == [[NextStateKind.SESSION_CLOSED], [NextStateKind.USER]]


async def test_scopes_do_not_meet(gateway):
    await gateway.say(user("a"), headers={"authorization": "Bearer one"})
    body = await gateway.say(
        user("a"), assistant("hello there"), user("b"), headers={"authorization": "Bearer two"}
    )
    first, second = gateway.turns()
    assert first.scope != second.scope
    assert body["session_id"] != first.session_id
    assert gateway.events(first.turn_id) == ()


async def test_tool_results_are_all_kept(make_gateway):
    call = '<tool_call>{"name": "ls", "arguments": {"a": 1}}</tool_call>'
    gateway = make_gateway([f"{call}\n{call}", "done"])
    tools = [{"type": "function", "function": {"name": "ls"}}]
    said = (await gateway.say(user("a"), tools=tools))["choices"][0]["message"]
    for index, entry in enumerate(said["tool_calls"]):  # as clients write them back
        entry.update(id=f"renamed{index}", index=index)
        entry["function"]["arguments"] = '{"a":1}'
    results = [
        {"role": "tool", "tool_call_id": f"renamed{i}", "content": f"r{i}"} for i in range(2)
    ]
    await gateway.say(user("a"), said, *results, tools=tools)
    first, second = gateway.turns()
    (reaction,) = gateway.events(first.turn_id)
    assert reaction.kind is NextStateKind.TOOL
    assert [message.content for message in reaction.messages] == ["r0", "r1"]
    assert first.finish_reason is FinishReason.TOOL_CALLS
    whole = first.prompt_ids + first.response_ids
    assert second.prompt_ids[: len(whole)] == whole


async def test_words_and_calls_that_come_back_apart_are_one_reply(make_gateway, qwen_tokenizer):
    call = '<tool_call>{"name": "ls", "arguments": {"a": 1}}</tool_call>'
    gateway = make_gateway([f"I look.\n{call}", "done", "bye"], with_tokenizer=qwen_tokenizer)
    tools = [{"type": "function", "function": {"name": "ls"}}]
    said = (await gateway.say(user("a"), tools=tools))["choices"][0]["message"]
    found = {"role": "tool", "tool_call_id": said["tool_calls"][0]["id"], "content": "r0"}
    history = [user("a"), assistant("I look."), {**said, "content": None}, found]
    await gateway.say(*history, tools=tools)
    await gateway.say(*history, assistant("done"), user("b"), tools=tools)
    first, second, third = gateway.turns()
    (reaction,) = gateway.events(first.turn_id)
    assert reaction.kind is NextStateKind.TOOL
    assert [message.content for message in reaction.messages] == ["r0"]
    prompt = qwen_tokenizer.decode(second.prompt_ids, keep_special=True)
    assert [prompt.count(text) for text in ("I look.", '"arguments"', "r0")] == [1, 1, 1], prompt
    assert [second.parent_turn_id, third.parent_turn_id] == [first.turn_id, second.turn_id]
    whole = second.prompt_ids + second.response_ids
    assert third.prompt_ids[: len(whole)] == whole


async def test_a_side_request_is_no_reaction(gateway):
    await talk(gateway, "a")
    history = [user("a"), assistant("hello there")]
    await gateway.say(*history, user("summarise"), headers={"X-Turn-Type": "side"})
    first, side = gateway.turns()
    assert gateway.events(first.turn_id) == ()
    assert (side.kind, side.session_id) == (TurnKind.SIDE, first.session_id)
    await gateway.say(*history, user("b"))
    assert [event.messages[0].content for event in gateway.events(first.turn_id)] == ["b"]


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


async def test_what_no_rule_explains_is_counted(gateway):
    await gateway.say(user("a"), assistant("whose words are these?"), user("b"))
    await talk(gateway, "c", "d")
    assert gateway.log.counters() == {"requests": 3, "unknown_shapes": 1}


async def test_a_clients_side_request_is_found_by_its_words(gateway):
    (first,) = await talk(gateway, "a")
    history = [user("a"), assistant("hello there")]
    await gateway.say(*history, user("Pre-compaction memory flush. Store durable memories"))
    side = gateway.turns()[1]
    assert (side.kind, side.parent_turn_id) == (TurnKind.SIDE, first.turn_id)
    assert gateway.engine.requests[1].priority == 1
    assert gateway.events(first.turn_id) == ()
    assert gateway.log.outcome(side.turn_id).drop_reason is DropReason.SIDE


async def test_a_prompt_says_what_the_client_says_now(gateway):
    """A history that only links by its canonical form is rendered afresh, not continued."""
    reminder = user("<system-reminder>it is Monday</system-reminder>")
    await gateway.say(user("a"), reminder)
    await gateway.say(user("a"), assistant("hello there"), user("b"))
    first, second = gateway.turns()
    assert second.parent_turn_id == first.turn_id
    assert second.prompt_ids[: len(first.prompt_ids)] != first.prompt_ids


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


@pytest.mark.parametrize(
    ("absent", "dropped"),
    [({"sampler_logprobs": ()}, {"no_logprobs": 1}), ({"sampler_logprobs_t1": ()}, {})],
)
async def test_logprobs_that_the_engine_cannot_tell(make_gateway, monkeypatch, absent, dropped):
    gateway = make_gateway()
    generate = gateway.engine.generate

    async def unsure(request):
        async for chunk in generate(request):
            yield replace(chunk, **absent)

    monkeypatch.setattr(gateway.engine, "generate", unsure)
    body = await gateway.say(user("a"), logprobs=True)
    assert gateway.log.counts().dropped == dropped
    known = {entry["logprob"] for entry in body["choices"][0]["logprobs"]["content"]}
    assert known == ({-0.5} if "sampler_logprobs_t1" in absent else {-1.0})


async def test_sequences_of_unequal_length_are_dropped_with_the_reason(make_gateway, monkeypatch):
    gateway = make_gateway()
    generate = gateway.engine.generate

    async def careless(request):
        async for chunk in generate(request):
            yield replace(chunk, sampler_logprobs=()) if chunk.finish_reason else chunk

    monkeypatch.setattr(gateway.engine, "generate", careless)
    await talk(gateway, "a")
    assert gateway.log.counts().dropped == {"length_mismatch": 1}
