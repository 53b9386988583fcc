"""Scoring given replies: the numbers, and that nobody else notices."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import numpy as np
import pytest
from engine_driver import LogitsOf, Reply, log_softmax, prompt, request, step, submit
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clawjax.config import EngineConfig
from clawjax.engine.decode import Decoder
from clawjax.engine.embedded import EmbeddedEngine
from clawjax.engine.replies import Job
from clawjax.engine.scheduler import Scheduler, Weights
from clawjax.errors import EngineError, WireError
from clawjax.models.load import LoadedModel
from clawjax.models.tiny import tiny_tokenizer
from clawjax.models.transformer import Params
from clawjax.protocols import Engine, ScoreRequest
from clawjax.records import FinishReason
from clawjax.testing import FakeEngine


def asked(prompt_tokens: int, response_tokens: int, *, seed: int = 0, priority: int = 0):
    ids = prompt(prompt_tokens + response_tokens, seed=seed)
    return ScoreRequest(f"s{seed}", ids[:prompt_tokens], ids[prompt_tokens:], priority)


def expected(logits_of: LogitsOf, params: object, one: ScoreRequest) -> np.ndarray:
    ids = (*one.prompt_ids, *one.response_ids)
    logprobs = log_softmax(logits_of(params, ids))[len(one.prompt_ids) - 1 : -1]
    return logprobs[np.arange(len(one.response_ids)), list(one.response_ids)]


@pytest.fixture
def scoring(scheduler: Scheduler, decoder: Decoder, model: LoadedModel) -> Scheduler:
    decoder.prepare(decoder.scoring_shapes(), model.params)
    return scheduler


def submit_scoring(scheduler: Scheduler, one: ScoreRequest, *, top_logprobs: int = 0) -> Job:
    job = Job(one, 1, top_logprobs)
    scheduler.submit(job)
    return job


def finish(scheduler: Scheduler, replies: dict[Job, Reply]) -> None:
    for _ in range(500):
        if scheduler.is_idle:
            return
        step(scheduler, replies)
    raise AssertionError("the scheduler does not come to an end")


def scores(scheduler: Scheduler, *many: ScoreRequest) -> list[Reply]:
    jobs = [submit_scoring(scheduler, one) for one in many]
    replies: dict[Job, Reply] = {}
    finish(scheduler, replies)
    return [replies[job] for job in jobs]


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(first=st.integers(1, 127), second=st.integers(1, 127), seed=st.integers(0, 99))
def test_scores_are_those_of_one_plain_forward_pass(
    scoring: Scheduler, model: LoadedModel, logits_of: LogitsOf, first: int, second: int, seed: int
) -> None:
    one = asked(first, min(second, 128 - first), seed=seed)
    [reply] = scores(scoring, one)
    assert reply.ids == one.response_ids
    assert reply.versions == [0] * len(one.response_ids)
    np.testing.assert_allclose(reply.logprobs, expected(logits_of, model.params, one), atol=1e-4)


def test_one_token_after_one_token(
    scoring: Scheduler, model: LoadedModel, logits_of: LogitsOf
) -> None:
    one = asked(1, 1)
    [reply] = scores(scoring, one)
    np.testing.assert_allclose(reply.logprobs, expected(logits_of, model.params, one), atol=1e-4)


def test_the_same_text_scores_the_same_wherever_the_response_begins(scoring: Scheduler) -> None:
    ids = prompt(70)
    whole, part = scores(
        scoring, ScoreRequest("a", ids[:1], ids[1:]), ScoreRequest("b", ids[:40], ids[40:])
    )
    np.testing.assert_allclose(whole.logprobs[39:], part.logprobs, atol=1e-5)


def test_what_was_sampled_scores_as_it_was_sampled(scoring: Scheduler) -> None:
    drawn = request(prompt(30), 40, seed=5, temperature=1.0)
    replies: dict[Job, Reply] = {}
    job = submit(scoring, drawn)
    finish(scoring, replies)
    [again] = scores(scoring, ScoreRequest("s", drawn.prompt_ids, replies[job].ids))
    np.testing.assert_allclose(again.logprobs, replies[job].logprobs_t1, atol=1e-4)


def test_running_streams_get_a_token_each_step_while_a_long_text_is_scored(
    scoring: Scheduler, model: LoadedModel, logits_of: LogitsOf
) -> None:
    replies: dict[Job, Reply] = {}
    running = [submit(scoring, request(prompt(4, seed=n), 60, seed=n)) for n in range(2)]
    while len(replies) < 2:
        step(scoring, replies)
    one = asked(20, 100)
    scored = submit_scoring(scoring, one)
    before, steps = [len(replies[job].ids) for job in running], 0
    while scored not in replies:
        step(scoring, replies)
        steps += 1
    assert steps > 4, "it was read in more than one go"
    assert [len(replies[job].ids) for job in running] == [n + steps for n in before]
    np.testing.assert_allclose(
        replies[scored].logprobs, expected(logits_of, model.params, one), atol=1e-4
    )


def test_the_urgent_come_first_and_a_displaced_scoring_goes_on(
    scoring: Scheduler, model: LoadedModel, logits_of: LogitsOf
) -> None:
    many = [asked(9, 110, seed=n, priority=2) for n in range(3)]
    replies: dict[Job, Reply] = {}
    jobs = [submit_scoring(scoring, one) for one in many]
    for _ in range(8):
        step(scoring, replies)
    assert sum(job in replies for job in jobs) == 1
    urgent = [submit(scoring, request(prompt(7, seed=n), 3, seed=n)) for n in range(3)]
    while not all(job in replies and replies[job].finish_reason for job in urgent):
        step(scoring, replies)
        assert sum(job in replies for job in jobs) == 1
    finish(scoring, replies)
    for job, one in zip(jobs, many, strict=True):
        np.testing.assert_allclose(
            replies[job].logprobs, expected(logits_of, model.params, one), atol=1e-4
        )


@pytest.mark.parametrize("is_displaced", [False, True])
def test_a_text_is_scored_by_one_version(
    scoring: Scheduler, other_params: Params, logits_of: LogitsOf, is_displaced: bool
) -> None:
    one = asked(9, 110, priority=2)
    replies: dict[Job, Reply] = {}
    job = submit_scoring(scoring, one)
    for _ in range(2):
        step(scoring, replies)
    assert job not in replies
    if is_displaced:
        urgent = [submit(scoring, request(prompt(5, seed=n), 9, seed=n)) for n in range(3)]
        step(scoring, replies)
        assert scoring.running == len(urgent)
    scoring.adopt(Weights(other_params, 5))
    # Somebody else reads the same text anew before the displaced one is seated again.
    twin = submit_scoring(scoring, replace(one, priority=0))
    finish(scoring, replies)
    for asker in (job, twin):
        assert replies[asker].versions == [5] * 110
        np.testing.assert_allclose(
            replies[asker].logprobs, expected(logits_of, other_params, one), atol=1e-4
        )


def test_alternatives_are_the_likeliest_in_each_place(
    scoring: Scheduler, model: LoadedModel, logits_of: LogitsOf
) -> None:
    one = asked(5, 60)
    job = submit_scoring(scoring, one, top_logprobs=3)
    replies: dict[Job, Reply] = {}
    finish(scoring, replies)
    logprobs = log_softmax(logits_of(model.params, (*one.prompt_ids, *one.response_ids)))[4:-1]
    [chunk] = replies[job].chunks
    assert len(chunk.top_logprobs) == 60
    for row, found in zip(logprobs, chunk.top_logprobs, strict=True):
        np.testing.assert_allclose(
            [value for _, value in found], np.sort(row)[-3:][::-1], atol=1e-4
        )
        np.testing.assert_allclose(row[[i for i, _ in found]], np.sort(row)[-3:][::-1], atol=1e-4)


async def test_the_engine_scores_while_it_generates(
    model: LoadedModel, config: EngineConfig, logits_of: LogitsOf
) -> None:
    engine = await EmbeddedEngine.start(model, config, None)
    try:
        many = [asked(3 + n, 50 + n, seed=n) for n in range(3)]

        async def drawn() -> Reply:
            stream = engine.generate(request(prompt(6), 100))
            return Reply([chunk async for chunk in stream])

        async with asyncio.timeout(60):
            reply, *found = await asyncio.gather(drawn(), *(engine.score(one) for one in many))
        assert len(reply.ids) == 100
        for one, logprobs in zip(many, found, strict=True):
            np.testing.assert_allclose(logprobs, expected(logits_of, model.params, one), atol=1e-4)
        assert (engine.status().running, engine.status().waiting) == (0, 0)
        assert engine.status().generated_tokens == 100
        with pytest.raises(WireError, match="maximum context length is 128"):
            await engine.score(asked(100, 29))
        with pytest.raises(WireError, match="nothing to score"):
            await engine.score(ScoreRequest("s", (1,), ()))
        with pytest.raises(WireError, match="not in the vocabulary"):
            await engine.score(ScoreRequest("s", (1,), (2, -4)))
    finally:
        await engine.aclose()
    with pytest.raises(EngineError, match="closed"):
        await engine.score(asked(3, 4))


async def test_closing_the_engine_fails_what_is_being_scored(
    model: LoadedModel, config: EngineConfig
) -> None:
    engine = await EmbeddedEngine.start(model, config, None)
    await engine.score(asked(3, 4))
    tasks = [asyncio.create_task(engine.score(asked(20, 100, seed=n))) for n in range(6)]
    await asyncio.sleep(0)
    await engine.aclose()
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    failures = [one for one in ended if isinstance(one, BaseException)]
    assert failures, "none was still under way"
    assert {type(one) for one in failures} == {EngineError}


async def test_the_fake_refuses_what_the_engine_refuses() -> None:
    fake = FakeEngine(tiny_tokenizer(), ["hello"], context_length=16)
    assert isinstance(fake, Engine)
    assert await fake.score(asked(10, 6)) == (-1.0,) * 6
    with pytest.raises(WireError, match="maximum context length"):
        await fake.score(asked(10, 7))
    with pytest.raises(AssertionError):
        await fake.score(ScoreRequest("s", (1,), ()))


def test_a_scored_text_ends_as_stopped(scoring: Scheduler) -> None:
    [reply] = scores(scoring, asked(4, 4))
    assert reply.finish_reason is FinishReason.STOP
