"""What is done in one call of the device: several prompts, several tokens, fewer bits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from engine_driver import LogitsOf, Reply, assert_consistent, prompt, request, run, step, submit

from clawjax.config import EngineConfig
from clawjax.engine.adoption import served
from clawjax.engine.decode import Decoder, Read
from clawjax.engine.embedded import EmbeddedEngine
from clawjax.engine.kv import new_cache
from clawjax.engine.programs import Shape, burst
from clawjax.engine.replies import Job
from clawjax.engine.sampling import idle_rows
from clawjax.engine.scheduler import Scheduler, Weights
from clawjax.engine.text import ReplyText
from clawjax.models.load import LoadedModel
from clawjax.models.transformer import Params, Transformer
from clawjax.protocols import GenerateRequest

NewScheduler = Callable[[Decoder], Scheduler]

BURST = 4


@pytest.fixture
def new_scheduler(model: LoadedModel) -> NewScheduler:
    return lambda decoder: Scheduler(
        decoder,
        Weights(model.params, 0),
        eos_ids=model.tokenizer.eos_ids,
        new_text=lambda stops, _: ReplyText(model.tokenizer.detokenizer(), stops),
    )


@pytest.fixture(scope="module")
def bursting(model: LoadedModel, config: EngineConfig) -> Decoder:
    """A decoder that draws four tokens per call where it is allowed to."""
    several = replace(config, tokens_per_dispatch=BURST)
    decoder = Decoder(model.architecture, model.context_length, several)
    decoder.warm_up(model.params)
    return decoder


def spy(decoder: Decoder, name: str, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, Any]]:
    """The arguments of all calls of a method."""
    calls: list[tuple[Any, Any]] = []
    original = getattr(decoder, name)

    def call(*arguments: Any, **named: Any) -> Any:
        calls.append((arguments, named))
        return original(*arguments, **named)

    monkeypatch.setattr(decoder, name, call)
    return calls


def reads(calls: Sequence[tuple[Any, Any]]) -> list[list[Read]]:
    return [arguments[1] for arguments, _ in calls]


def many(count: int, *, length: int = 9) -> list[GenerateRequest]:
    return [request(prompt(length + n, seed=n), 10, seed=n, temperature=0.9) for n in range(count)]


def test_short_prompts_are_read_together_and_each_as_if_alone(
    model: LoadedModel,
    decoder: Decoder,
    scheduler: Scheduler,
    monkeypatch: pytest.MonkeyPatch,
    logits_of: LogitsOf,
) -> None:
    asked = many(3)
    alone = [run(scheduler, one)[0] for one in asked]
    scheduler.adopt(Weights(model.params, 0))  # nothing of it is known any more
    calls = spy(decoder, "prefill", monkeypatch)
    replies = run(scheduler, *asked)
    assert [len(together) for together in reads(calls)] == [3, 3]  # 8 tokens of each at a time
    assert [reply.ids for reply in replies] == [reply.ids for reply in alone]
    assert_consistent(logits_of, model.params, dict(zip(asked, replies, strict=True)))


def test_who_comes_first_does_not_wait_for_company(
    decoder: Decoder, scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = spy(decoder, "prefill", monkeypatch)
    long, short = request(prompt(76), 3, seed=1), request(prompt(20, seed=5), 3, seed=2)
    run(scheduler, long, short)
    slots = [[read.slot for read in together] for together in reads(calls)]
    assert slots == [[0], [0], [0, 1], [0, 1], [1]]  # 32, 32, and 8 at a time


def test_a_prompt_beside_more_running_replies_is_read_in_small_pieces(
    decoder: Decoder, scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch, logits_of: LogitsOf
) -> None:
    replies: dict[Job, Reply] = {}
    running = [submit(scheduler, request(prompt(4, seed=n), 60, seed=n)) for n in (1, 2)]
    while len(replies) < 2:
        step(scheduler, replies)
    calls = spy(decoder, "mixed", monkeypatch)
    asked = request(prompt(76, seed=3), 5, seed=3)
    late = submit(scheduler, asked)
    while late not in replies:
        before = {job: len(replies[job].ids) for job in running}
        step(scheduler, replies)
        assert all(len(replies[job].ids) == before[job] + 1 for job in running)
    starts = [read.start for (*_, read), _ in calls]
    assert starts == list(range(0, 76, 8))
    while not scheduler.is_idle:
        step(scheduler, replies)
    assert_consistent(logits_of, scheduler.weights.params, {asked: replies[late]})


def test_several_tokens_per_call_are_the_same_tokens(
    model: LoadedModel,
    scheduler: Scheduler,
    bursting: Decoder,
    new_scheduler: NewScheduler,
    monkeypatch: pytest.MonkeyPatch,
    logits_of: LogitsOf,
) -> None:
    asked = [
        request(prompt(7), 23, seed=1, temperature=1.0, top_p=0.9),
        request(prompt(30, seed=2), 9, seed=2),
        request(prompt(118, seed=3), 10, seed=3, temperature=0.7),  # to the end of the context
    ]
    expected = run(scheduler, *asked)
    calls = spy(bursting, "decode", monkeypatch)
    replies = run(new_scheduler(bursting), *asked)
    steps = [named["steps"] for _, named in calls]
    assert {1, BURST} == set(steps)
    assert len(steps) < sum(steps)
    for reply, single in zip(replies, expected, strict=True):
        assert (reply.ids, reply.text, reply.finish_reason) == (
            single.ids,
            single.text,
            single.finish_reason,
        )
        assert all(len(chunk.token_ids) == 1 for chunk in reply.chunks)
    assert_consistent(logits_of, model.params, dict(zip(asked, replies, strict=True)))
    assert bursting.compiled == bursting.shapes()


def test_a_reply_that_stops_within_a_call_ends_there_and_is_remembered_right(
    model: LoadedModel, bursting: Decoder, new_scheduler: NewScheduler, logits_of: LogitsOf
) -> None:
    scheduler = new_scheduler(bursting)
    [whole] = run(scheduler, request(prompt(12), 20, seed=4, temperature=1.0))
    end = whole.ids[6]
    first = whole.ids.index(end)
    stopped = request(prompt(12), 20, seed=4, temperature=1.0, stop_token_ids=(end,))
    [reply] = run(scheduler, stopped)
    assert reply.ids == whole.ids[: first + 1]
    more = request((*stopped.prompt_ids, *reply.ids, *prompt(9, seed=8)), 12, seed=5)
    [answer] = run(scheduler, more)
    assert_consistent(logits_of, model.params, {more: answer})


def test_nobody_who_arrives_waits_for_more_than_one_call(
    bursting: Decoder, new_scheduler: NewScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler = new_scheduler(bursting)
    calls = spy(bursting, "decode", monkeypatch)
    replies: dict[Job, Reply] = {}
    submit(scheduler, request(prompt(5), 60, seed=1))
    for _ in range(4):
        step(scheduler, replies)
    late = submit(scheduler, request(prompt(40, seed=2), 8, seed=2))
    before = len(calls)
    while late not in replies:
        step(scheduler, replies)
    assert {named["steps"] for _, named in calls[before:-1]} <= {1}


def test_what_was_read_before_is_reported_once(scheduler: Scheduler) -> None:
    first = request(prompt(60, seed=20), 4, seed=1)
    [cold] = run(scheduler, first)
    [warm] = run(scheduler, request((*prompt(60, seed=20), *prompt(10, seed=21)), 4, seed=2))
    assert [chunk.cached_tokens for chunk in cold.chunks] == [0, 0, 0, 0]
    assert [chunk.cached_tokens for chunk in warm.chunks] == [60, 0, 0, 0]


def test_fewer_bits_change_log_probs_a_little_and_norms_not_at_all(
    model: LoadedModel, logits_of: Callable[[Params, tuple[int, ...]], np.ndarray]
) -> None:
    half = served(model.params, "bfloat16")
    dtypes = {leaf.ndim: leaf.dtype for leaf in jax.tree.leaves(half)}
    assert dtypes == {1: jnp.float32, 2: jnp.bfloat16}
    assert jax.tree.map(lambda leaf: leaf.shape, half) == jax.tree.map(
        lambda leaf: leaf.shape, model.params
    )
    ids = prompt(40)
    exact, rounded = logits_of(model.params, ids), logits_of(half, ids)
    assert rounded.dtype == np.float32
    difference = np.abs(jax.nn.log_softmax(exact) - jax.nn.log_softmax(rounded))
    assert 0 < difference.mean() < 0.02
    same = served(model.params, "float32")
    assert jax.tree.all(
        jax.tree.map(lambda a, b: a is b or bool((a == b).all()), same, model.params)
    )


async def test_an_engine_serves_in_bfloat16_and_says_what_it_sampled(
    model: LoadedModel, config: EngineConfig, logits_of: LogitsOf
) -> None:
    engine = await EmbeddedEngine.start(model, replace(config, weights_dtype="bfloat16"), None)
    try:
        replies: dict[GenerateRequest, Reply] = {}
        for asked in (request(prompt(20), 12, seed=1, temperature=1.0), request(prompt(3), 5)):
            reply = replies[asked] = Reply()
            async for chunk in engine.generate(asked):
                reply.chunks.append(chunk)
    finally:
        await engine.aclose()
    assert_consistent(logits_of, served(model.params, "bfloat16"), replies)


def test_the_device_is_a_step_ahead_while_nobody_arrives(
    decoder: Decoder, scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = [request(prompt(5), 12, seed=1, temperature=0.9), request(prompt(5, seed=2), 7, seed=2)]
    [first, second] = [run(scheduler, one)[0] for one in asked]
    calls = spy(decoder, "decode", monkeypatch)
    replies = run(scheduler, *asked)
    assert [reply.ids for reply in replies] == [first.ids, second.ids]
    on_the_way = [isinstance(arguments[1], jax.Array) for arguments, _ in calls]
    # After the prompts 6 steps of both, 5 of one: the first of either begins with what is known.
    assert on_the_way == [False, *[True] * 5, False, *[True] * 4]


def test_who_leaves_takes_nothing_of_the_step_ahead_along(
    model: LoadedModel, scheduler: Scheduler, logits_of: LogitsOf
) -> None:
    """Cancelled, sent back, or beside somebody who stops: each goes on as if alone."""
    asked = [request(prompt(9 + n, seed=n), 30, seed=n, temperature=1.0) for n in range(3)]
    whole = [run(scheduler, one)[0] for one in asked]
    stop = whole[2].ids[5]
    asked[2] = replace(asked[2], sampling=replace(asked[2].sampling, stop_token_ids=(stop,)))
    replies: dict[Job, Reply] = {}
    jobs = [submit(scheduler, one) for one in asked]
    while not all(job in replies for job in jobs):
        step(scheduler, replies)
    for _ in range(3):
        step(scheduler, replies)
    jobs[0].is_cancelled = True
    step(scheduler, replies)
    scheduler.retract_all()
    late = request(prompt(20, seed=7), 6, seed=7)
    last = submit(scheduler, late)
    while not scheduler.is_idle:
        step(scheduler, replies)
    assert replies[jobs[1]].ids == whole[1].ids
    end = whole[2].ids.index(stop) + 1
    assert replies[jobs[2]].ids == whole[2].ids[:end]
    assert whole[0].ids[: len(replies[jobs[0]].ids)] == replies[jobs[0]].ids
    known = {asked[1]: replies[jobs[1]], late: replies[last]}
    assert_consistent(logits_of, model.params, known)


def lowered(model: LoadedModel, platform: str) -> str:
    """The program that draws four tokens for two rows, as XLA is given it."""
    program = partial(burst, Transformer(model.architecture), Shape("decode", 2, BURST, 32))
    cache = new_cache(model.architecture, rows=3, capacity=32)
    fed = jnp.zeros(2, jnp.int32)
    traced = jax.jit(program).trace(model.params, cache, fed, fed, idle_rows(2))
    return traced.lower(lowering_platforms=(platform,)).as_text()


def test_a_loop_on_a_tpu_scatters_nothing_into_the_cache(model: LoadedModel) -> None:
    """There XLA would copy all of the cache at every call: seen in what its compiler makes."""
    assert "scatter" not in lowered(model, "tpu")
    assert "scatter" in lowered(model, "cpu")
