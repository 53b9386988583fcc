"""What is kept of a conversation, and when."""

import asyncio
import threading
from dataclasses import replace

import pytest

from clawjax.records import (
    DropReason,
    FinishReason,
    LinkKind,
    NextState,
    NextStateKind,
    TurnKind,
)

from .helpers import FailingLog, assistant, talk, user


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


ONE, BOTH = ["one moment"], ["one moment", "it is wrong"]


class Overlap:
    """Holds two requests back until both have arrived, and one of them until the other is done."""

    def __init__(self, gateway, monkeypatch, *, is_shorter_first=True):
        self.is_first_done = asyncio.Event()
        self._is_shorter_first = is_shorter_first
        self._both = asyncio.Barrier(2)
        self._prompts = []
        self._gateway = gateway
        monkeypatch.setattr(gateway.engine, "check", self._check)

    async def _check(self, request, *, replies):
        self._prompts.append(len(request.prompt_ids))
        async with asyncio.timeout(20):
            await self._both.wait()
            is_shorter = len(request.prompt_ids) == min(self._prompts)
            if is_shorter is not self._is_shorter_first:
                await self.is_first_done.wait()

    async def ask(self, *messages, is_first):
        try:
            return await self._gateway.chat(*messages)
        finally:
            if is_first:
                self.is_first_done.set()


def said_after(gateway, turn_id):
    return [[m.content for m in event.messages] for event in gateway.events(turn_id)]


@pytest.mark.parametrize("is_shorter_first", [True, False])
async def test_words_that_arrive_before_those_before_them_are_linked_reach_the_judges(
    gateway, monkeypatch, is_shorter_first
):
    (first,) = await talk(gateway, "a")
    history = [user("a"), assistant("hello there")]
    overlap = Overlap(gateway, monkeypatch, is_shorter_first=is_shorter_first)
    answers = await asyncio.gather(
        overlap.ask(*history, *map(user, ONE), is_first=is_shorter_first),
        overlap.ask(*history, *map(user, BOTH), is_first=not is_shorter_first),
    )
    assert [answer.status_code for answer in answers] == [200, 200]
    assert said_after(gateway, first.turn_id) == ([ONE, BOTH] if is_shorter_first else [BOTH])


@pytest.mark.parametrize("is_failing_late", [False, True])
async def test_words_are_linked_also_where_those_before_them_could_not_be(
    make_gateway, log, monkeypatch, is_failing_late
):
    has_begun, may_fail = threading.Event(), threading.Event()

    class FailsOnce(FailingLog):
        def append(self, *records):
            if isinstance(records[0], NextState) and not has_begun.is_set():
                has_begun.set()
                assert may_fail.wait(20)
                super().append(*records)
            self._log.append(*records)

    gateway = make_gateway(with_log=FailsOnce(log, NextState))
    (first,) = await talk(gateway, "a")
    history = [user("a"), assistant("hello there")]
    overlap = Overlap(gateway, monkeypatch)
    asking = asyncio.gather(
        overlap.ask(*history, *map(user, ONE), is_first=True),
        overlap.ask(*history, *map(user, BOTH), is_first=False),
    )
    if not is_failing_late:
        may_fail.set()
    else:
        assert await asyncio.to_thread(has_begun.wait, 20)
        overlap.is_first_done.set()
        async with asyncio.timeout(20):
            while not gateway.events(first.turn_id):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        may_fail.set()
    assert [answer.status_code for answer in await asking] == [500, 200]
    assert said_after(gateway, first.turn_id) == [BOTH]
    monkeypatch.undo()
    await gateway.say(*history, *map(user, ONE))  # its client tries again
    assert said_after(gateway, first.turn_id) == [BOTH]


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
