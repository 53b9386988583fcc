"""The engine over scripted servers: whole replies, whatever the servers do."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, aclosing
from dataclasses import replace

import pytest
from sampled_replies import (
    PROMPT,
    TOKENIZER,
    Collected,
    Store,
    assert_whole,
    collect,
    engine_of,
    request,
    until,
    weights,
)
from scripted_server import Fault, ScriptedServer

from clawjax.engine.sglang.pool import affinity
from clawjax.errors import ConfigError, EngineError, WireError
from clawjax.protocols import ScoreRequest
from clawjax.records import FinishReason, Grammar, GrammarKind


@pytest.mark.parametrize("form", ["cumulative", "incremental", "nested"])
@pytest.mark.parametrize("per_event", [1, 3])
async def test_a_reply_is_the_same_in_every_form_of_stream(server, form, per_event):
    server.form, server.per_event = form, per_event
    async with engine_of(server) as engine:
        reply = await collect(engine, request())
    assert_whole(reply, server)
    assert reply.sampler_logprobs_t1 == reply.sampler_logprobs
    assert set(reply.versions) == {0}
    assert reply.cached_tokens == len(PROMPT) // 2
    assert server.aborted == []


async def test_the_request_says_what_is_wanted(server):
    async with engine_of(server) as engine:
        await collect(
            engine, request(temperature=0.5, top_p=0.9, top_k=5, min_p=0.1, stop=("zzz",))
        )
    body = server.requests[-1]
    assert body["input_ids"] == list(PROMPT)
    assert body["rid"].startswith("r-")
    assert body["extra_key"].startswith("clawjax-000000-")
    assert body["sampling_params"] == {
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 5,
        "min_p": 0.1,
        "max_new_tokens": 12,
        "stop": ["zzz"],
        "stop_token_ids": sorted(TOKENIZER.eos_ids),
        "sampling_seed": 7,
    }


@pytest.mark.parametrize("kind", ["abort", "reset"])
@pytest.mark.parametrize("after", [0, 5])
async def test_an_interrupted_reply_goes_on_from_the_tokens_so_far(server, kind, after):
    server.faults = [Fault(kind, after), Fault(kind, 2)]
    async with engine_of(server) as engine:
        reply = await collect(engine, request())
    assert_whole(reply, server)
    streams = [r for r in server.requests if r.get("stream")]
    assert [len(r["input_ids"]) - len(PROMPT) for r in streams] == [0, after, after + 2]
    assert [r["sampling_params"]["max_new_tokens"] for r in streams] == [12, 12 - after, 10 - after]
    assert len({r["rid"] for r in streams}) == 3
    assert reply.cached_tokens == len(PROMPT) // 2


async def test_a_reply_with_a_grammar_is_never_continued(server):
    grammar = Grammar(GrammarKind.REGEX, "a+")
    async with engine_of(server) as engine:
        server.faults = [Fault("abort", 0), Fault("abort", 3)]
        reply = Collected()
        with pytest.raises(EngineError):
            await collect(engine, request(grammar=grammar), into=reply)
        assert len(reply.token_ids) == 3
        assert server.faults == []


async def test_a_server_that_stays_silent_is_told_to_stop_before_another_is_asked(server):
    server.faults = [Fault("hang", 3)]
    async with engine_of(server, silence_timeout_s=0.2) as engine:
        reply = await collect(engine, request())
    assert_whole(reply, server)
    assert server.aborted == ["r-0"]


async def test_a_reply_that_never_gets_on_is_not_taken_for_finished(server):
    server.faults = [Fault("abort", 2), *[Fault("abort", 0, words="no room")] * 9]
    reply = Collected()
    async with engine_of(server) as engine:
        with pytest.raises(EngineError, match="no room"):
            await collect(engine, request(), into=reply)
    assert reply.token_ids == server.expected(PROMPT, 2)
    assert reply.finish_reason is None


async def test_logits_that_are_not_finite_are_an_error_and_no_sample(server):
    server.faults = [Fault("nan", 2)]
    async with engine_of(server) as engine:
        assert (await collect(engine, request())).token_ids == server.expected(PROMPT, 12)
        server.faults = [Fault("nan", 0) for _ in range(9)]
        with pytest.raises(EngineError, match="not finite"):
            await collect(engine, request())


async def test_a_server_that_has_loaded_a_directory_is_still_known(server):
    async with engine_of(server) as engine:
        await engine.swap(weights(4))
    assert server.model == "/run/served/000004"
    async with engine_of(server, store=Store(weights(4))) as engine:
        assert set((await collect(engine, request())).versions) == {4}
        server.model = "models/other/000004"
        server.began_as = "models/other"
    with pytest.raises(ConfigError, match="not one of"):
        async with engine_of(server):
            pass


async def test_a_reply_leaves_room_in_a_context_that_must_not_be_full(server):
    async with engine_of(server) as engine:
        assert engine.status().context_length == server.context - 1
        prompt = PROMPT[:1] * (server.context - 5)
        asked = request(prompt=prompt, tokens=400)
        assert len((await collect(engine, asked)).token_ids) == 4


async def test_replies_that_take_every_connection_hold_no_server_up(server):
    server.token_delay_s = 0.02
    async with engine_of(server, max_connections=1, wait_for_server_s=0.3) as engine:
        long = asyncio.create_task(collect(engine, request(tokens=100)))
        await until(lambda: server.running > 0)
        with pytest.raises(WireError, match=r"engine\.sglang\.max_connections") as caught:
            await collect(engine, request())
        assert caught.value.status == 503
        await engine.swap(weights(4))  # pause, load, go on
        assert not long.done()
        assert [one.trouble for one in engine._pool.servers] == [None]
        assert len((await long).token_ids) == 100


async def test_closing_the_iterator_frees_the_server(server):
    server.token_delay_s = 0.01
    async with engine_of(server) as engine:
        async with aclosing(engine.generate(request(tokens=400))) as chunks:
            async for _ in chunks:
                break
        assert server.aborted == ["r-0"]
        assert engine.status().running == 0
        await until(lambda: not server.running)


async def test_cancelling_the_reader_frees_the_server(server):
    server.token_delay_s = 0.05
    async with engine_of(server) as engine:
        reading = asyncio.create_task(collect(engine, request(tokens=400)))
        await until(lambda: server.running > 0)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert server.aborted == ["r-0"]


@pytest.mark.parametrize(
    "fault",
    [Fault("status", status=400, words="top_p is odd"), Fault("error", words="top_p is odd")],
)
async def test_what_the_server_says_of_a_bad_request_reaches_its_sender(server, fault):
    server.faults = [fault]
    async with engine_of(server) as engine:
        with pytest.raises(WireError, match="top_p is odd") as caught:
            await collect(engine, request())
        assert caught.value.status == 400
        assert_whole(await collect(engine, request()), server)


async def test_a_context_that_the_server_finds_too_long_has_openais_code(server):
    server.faults = [Fault("status", status=400, words="is longer than the model's context length")]
    async with engine_of(server) as engine:
        with pytest.raises(WireError) as caught:
            await collect(engine, request())
    assert caught.value.code == "context_length_exceeded"


async def test_a_server_that_fails_is_asked_again_and_then_believed(server):
    server.faults = [Fault("status", words="CUDA error")]
    async with engine_of(server) as engine:
        assert_whole(await collect(engine, request()), server)
        server.faults = [Fault("status", words="CUDA error")] * 9
        with pytest.raises(EngineError, match="answered 500: CUDA error"):
            await collect(engine, request())


@pytest.mark.parametrize("kind", ["status", "abort"])
async def test_servers_that_are_full_are_an_overload_and_stay(server, caplog, kind):
    async with engine_of(server) as engine:
        server.faults = [Fault(kind, status=503, words="The request queue is full.")] * 9
        with pytest.raises(WireError, match="The request queue is full") as caught:
            await collect(engine, request())
    assert (caught.value.status, caught.value.code) == (503, "engine_overloaded")
    assert "is out of rotation" not in caplog.text


async def test_a_server_that_is_told_to_give_its_replies_up_stays(server, caplog):
    server.token_delay_s = 0.01
    async with engine_of(server) as engine, asyncio.TaskGroup() as group:
        server.faults = [Fault("abort", 3, words="Abort in waiting queue")] * 4
        tasks = [group.create_task(collect(engine, request(str(i)))) for i in range(4)]
    for task in tasks:
        assert_whole(task.result(), server)
    assert server.faults == []
    assert "is out of rotation" not in caplog.text


async def test_a_server_that_gives_replies_up_because_it_failed_leaves(server, caplog):
    async with engine_of(server, failures_to_leave=3) as engine:
        server.faults = [Fault("abort", status=500, words="out of memory")] * 3
        assert_whole(await collect(engine, request()), server)
    assert "is out of rotation: out of memory" in caplog.text


async def test_more_requests_than_places_are_refused_at_once(server):
    server.token_delay_s = 0.05
    async with engine_of(server) as engine, asyncio.TaskGroup() as group:
        tasks = [group.create_task(collect(engine, request(str(i), tokens=3))) for i in range(16)]
        await asyncio.sleep(0.05)
        with pytest.raises(WireError) as caught:
            await collect(engine, request("one too many"))
        with pytest.raises(WireError, match="overloaded"):
            await engine.check(request("one too many"))
    assert caught.value.code == "engine_overloaded"
    assert all(task.result().finish_reason for task in tasks)


async def test_stop_strings_end_a_reply_and_are_never_shown(server):
    server.script = TOKENIZER.encode("please stop here now and then")
    async with engine_of(server) as engine:
        reply = await collect(engine, request(tokens=200, stop=(" here now",)))
    assert reply.finish_reason is FinishReason.STOP
    assert "here" not in reply.text
    whole = TOKENIZER.decode(server.expected(PROMPT, 200))
    assert reply.text == whole.split(" here now")[0]
    assert server.aborted == ["r-0"], "the server, which did not notice, is told to stop"


async def test_a_stop_token_counts_and_is_not_shown(server):
    end = min(TOKENIZER.eos_ids)
    server.script = (*TOKENIZER.encode("two words"), end)
    async with engine_of(server) as engine:
        reply = await collect(engine, request(tokens=200))
        assert reply.finish_reason is FinishReason.STOP
        assert reply.token_ids[-1] == end
        assert reply.text == TOKENIZER.decode(reply.token_ids[:-1])
        going_on = await collect(engine, request(tokens=30, ignore_eos=True))
    assert going_on.finish_reason is FinishReason.LENGTH
    assert "stop_token_ids" not in server.requests[-1]["sampling_params"]


async def test_text_of_split_characters_comes_whole(server):
    server.script = TOKENIZER.encode("🙂日本")
    assert len(server.script) > 3, "each character takes several tokens"
    async with engine_of(server) as engine:
        reply = await collect(engine, request(tokens=5 * len(server.script)))
    assert reply.text == TOKENIZER.decode(reply.token_ids)
    assert not any("\ufffd" in chunk.text for chunk in reply.chunks[:-1])


async def test_scores_are_those_of_the_reply_alone(server):
    response = TOKENIZER.encode("the cat")
    async with engine_of(server) as engine:
        scores = await engine.score(ScoreRequest("s", PROMPT, response))
        one = await engine.score(ScoreRequest("s", PROMPT[:1], response[:1]))
    positions = range(len(PROMPT), len(PROMPT) + len(response))
    assert scores == tuple(server.logprob(p) for p in positions)
    assert one == (server.logprob(1),)
    assert server.requests[-2]["logprob_start_len"] == len(PROMPT) - 1


async def test_a_session_stays_with_its_server(two):
    async with engine_of(*two) as engine:
        for session in range(20):
            asked = request(f"{session}", prompt=[*PROMPT, session + 20], tokens=1)
            await collect(engine, asked)
            await collect(engine, asked)
    used = [[r["rid"] for r in server.requests if r.get("stream")] for server in two]
    assert all(used), "sessions are spread"
    assert not set(used[0]) & set(used[1])


async def test_a_server_that_is_much_busier_gives_way(two):
    for server in two:
        server.token_delay_s = 0.02
    async with engine_of(*two, affinity_slack=2) as engine, asyncio.TaskGroup() as group:
        for i in range(10):
            group.create_task(collect(engine, request(str(i), tokens=10)))
    used = sorted(sum(bool(r.get("stream")) for r in server.requests) for server in two)
    assert used[0] >= 3


def with_session(number):
    return replace(request(str(number)), session_id=f"session {number}")


def home_of(engine, asked):
    pool = engine._pool
    return pool._preferred(affinity(asked), list(pool.servers)).url


async def test_a_server_that_leaves_costs_no_chat_and_may_come_back(two):
    for server in two:
        server.token_delay_s = 0.02
    async with AsyncExitStack() as stack:
        third = await stack.enter_async_context(ScriptedServer(token_delay_s=0.02).serving())
        async with engine_of(*two, third) as engine, asyncio.TaskGroup() as group:
            own = next(i for i in range(99) if home_of(engine, with_session(i)) == third.url)
            tasks = [
                group.create_task(collect(engine, with_session(i))) for i in range(own, own + 9)
            ]
            await until(lambda: third.running > 0)
            await stack.aclose()
            replies = [await task for task in tasks]
            assert all(reply.finish_reason is FinishReason.LENGTH for reply in replies)
            assert all(len(reply.token_ids) == 12 for reply in replies)
            await until(lambda: len(engine._pool.serving) == 2)
            await stack.enter_async_context(third.serving())
            await until(lambda: len(engine._pool.serving) == 3)


async def test_requests_wait_for_the_only_server_to_come_back(server):
    async with AsyncExitStack() as stack:
        only = await stack.enter_async_context(ScriptedServer().serving())
        async with engine_of(only) as engine:
            await stack.aclose()
            waiting = asyncio.create_task(collect(engine, request()))
            await asyncio.sleep(0.3)
            async with only.serving():
                assert_whole(await waiting, only)


async def test_no_server_for_too_long_is_a_503_that_says_why():
    async with AsyncExitStack() as stack:
        only = await stack.enter_async_context(ScriptedServer().serving())
        async with engine_of(only, wait_for_server_s=0.2) as engine:
            await stack.aclose()
            with pytest.raises(WireError, match="No engine server") as caught:
                await collect(engine, request())
            assert caught.value.status == 503


async def test_a_health_check_that_is_late_takes_a_server_out_for_as_long(two):
    async with engine_of(*two, health_timeout_s=0.1) as engine:
        two[0].health_delay_s = 0.5
        await until(lambda: len(engine._pool.serving) == 1)
        two[0].health_delay_s = 0.0
        await until(lambda: len(engine._pool.serving) == 2)
