from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from engine_driver import (
    LogitsOf,
    Reply,
    assert_consistent,
    log_softmax,
    prompt,
    recomputed,
    request,
    run,
    step,
    submit,
)
from jax import Array

from clawjax.engine.decode import Decoder
from clawjax.engine.replies import Job
from clawjax.engine.scheduler import Scheduler, Weights
from clawjax.models.load import LoadedModel
from clawjax.models.transformer import Params, Transformer, grouped_attention
from clawjax.records import FinishReason


@pytest.mark.parametrize("length", [1, 7, 8, 31, 32, 33, 47, 48, 90])
def test_greedy_equals_step_by_step_argmax(
    scheduler: Scheduler, model: LoadedModel, logits_of: LogitsOf, length: int
) -> None:
    asked = request(prompt(length, seed=length), 12)
    [reply] = run(scheduler, asked)
    ids = asked.prompt_ids
    for token in reply.ids:
        assert token == logits_of(model.params, ids)[-1].argmax()
        ids += (token,)
    assert len(reply.ids) == 12
    assert reply.finish_reason is FinishReason.LENGTH


def test_logprobs_survive_joining_leaving_and_slot_reuse(
    scheduler: Scheduler, model: LoadedModel, logits_of: LogitsOf
) -> None:
    rng = np.random.default_rng(0)
    asked = [
        request(prompt(int(rng.integers(1, 80)), seed=i), int(rng.integers(1, 30)), seed=i,
                temperature=float(rng.choice([0.0, 0.7, 1.0])))
        for i in range(14)
    ]  # fmt: skip
    jobs: dict[Job, Reply] = {}
    owners: list[Job] = []
    for one in asked:
        owners.append(submit(scheduler, one))
        for _ in range(int(rng.integers(0, 6))):
            step(scheduler, jobs)
    while not scheduler.is_idle:
        step(scheduler, jobs)
    replies = {one: jobs[job] for one, job in zip(asked, owners, strict=True)}
    assert [len(r.ids) for r in replies.values()] == [
        one.sampling.max_response_tokens for one in asked
    ]
    assert_consistent(logits_of, model.params, replies)


def test_sampler_logprobs_are_those_of_the_truncated_distribution(
    scheduler: Scheduler, model: LoadedModel, logits_of: LogitsOf
) -> None:
    asked = request(prompt(9), 20, seed=3, temperature=0.6, top_k=5)
    [reply] = run(scheduler, asked)
    logits = logits_of(model.params, (*asked.prompt_ids, *reply.ids))[8:-1] / 0.6
    fifth = np.sort(logits, axis=-1)[:, -5, None]
    cut = log_softmax(np.where(logits >= fifth, logits, -np.inf))
    expected = cut[np.arange(20), list(reply.ids)]
    np.testing.assert_allclose(reply.logprobs, expected, atol=1e-4)
    assert_consistent(logits_of, model.params, {asked: reply})


def test_a_reply_depends_on_its_seed_and_not_on_its_neighbours(scheduler: Scheduler) -> None:
    asked = request(prompt(20), 25, seed=11, temperature=0.9)
    [alone] = run(scheduler, asked)
    others = [
        request(prompt(5 * i, seed=i), 10 + i, seed=i, temperature=1.0, top_p=0.9)
        for i in range(1, 6)
    ]
    crowd = run(scheduler, *others[:2], asked, *others[2:])
    assert crowd[2].ids == alone.ids
    np.testing.assert_allclose(crowd[2].logprobs, alone.logprobs, atol=1e-4)
    [reseeded] = run(scheduler, replace(asked, seed=11 + 2**32))
    assert reseeded.ids != alone.ids


def test_a_reply_that_goes_on_elsewhere_draws_what_it_would_have_drawn(
    scheduler: Scheduler,
) -> None:
    begun = prompt(9)
    (whole,) = run(scheduler, request(begun, 12, seed=5, temperature=1.0))
    (rest,) = run(scheduler, request(begun + whole.ids[:4], 8, seed=5, temperature=1.0))
    assert rest.ids == whole.ids[4:]
    np.testing.assert_allclose(rest.logprobs, whole.logprobs[4:], atol=1e-4)


def test_a_long_prompt_does_not_stall_a_running_reply(scheduler: Scheduler) -> None:
    replies: dict[Job, Reply] = {}
    running = submit(scheduler, request(prompt(4), 40))
    step(scheduler, replies)
    before = len(replies[running].ids)
    late = submit(scheduler, request(prompt(97), 3))
    steps = 0
    while late not in replies:
        step(scheduler, replies)
        steps += 1
    assert steps == 5  # one that was under way, and chunks of 32
    assert len(replies[running].ids) == before + steps


@pytest.mark.parametrize("length", [1, 9, 33, 80, 110])
def test_a_prompt_that_is_read_along_is_read_as_if_alone(
    scheduler: Scheduler, model: LoadedModel, logits_of: LogitsOf, length: int
) -> None:
    asked = request(prompt(length, seed=length), 12, seed=5, temperature=0.8)
    [alone] = run(scheduler, asked)
    scheduler.flush()
    others = [request(prompt(3 + i, seed=i), 60, seed=i, temperature=1.0) for i in range(2)]
    replies: dict[Job, Reply] = {}
    running = [submit(scheduler, one) for one in others]
    while not all(job in replies for job in running):
        step(scheduler, replies)
    before = [len(replies[job].ids) for job in running]
    late = submit(scheduler, asked)
    steps = 0
    while late not in replies:
        step(scheduler, replies)
        steps += 1
    after = [len(replies[job].ids) for job in running]
    assert after == [count + steps for count in before], "nobody waits, and nobody runs ahead"
    while not scheduler.is_idle:
        step(scheduler, replies)
    assert replies[late].ids == alone.ids
    np.testing.assert_allclose(replies[late].logprobs, alone.logprobs, atol=1e-4)
    owners = zip([*others, asked], [*running, late], strict=True)
    assert_consistent(logits_of, model.params, {one: replies[job] for one, job in owners})


def test_admission_is_first_come_first_served(scheduler: Scheduler) -> None:
    replies: dict[Job, Reply] = {}
    jobs = [submit(scheduler, request(prompt(3 + i), 3)) for i in range(8)]
    while not scheduler.is_idle:
        step(scheduler, replies)
        assert scheduler.running <= 3
    assert list(replies) == jobs


def test_cancelling_frees_the_slot_and_the_queue(scheduler: Scheduler) -> None:
    replies: dict[Job, Reply] = {}
    jobs = [submit(scheduler, request(prompt(3), 100)) for _ in range(5)]
    for _ in range(4):
        step(scheduler, replies)
    assert scheduler.running == 3
    for job in jobs[:4]:
        job.is_cancelled = True
    step(scheduler, replies)
    assert scheduler.running == 1
    assert len(replies[jobs[4]].ids) == 2
    assert jobs[3] not in replies


def test_cancelling_all_tells_every_asker(scheduler: Scheduler) -> None:
    jobs = [submit(scheduler, request(prompt(3), 100)) for _ in range(5)]
    scheduler.step()
    ended = scheduler.cancel_all()
    assert {delivery.job for delivery in ended} == set(jobs)
    assert {delivery.chunk.finish_reason for delivery in ended} == {FinishReason.CANCELLED}
    assert scheduler.is_idle


def test_versions_switch_once_and_new_tokens_follow_the_new_weights(
    scheduler: Scheduler,
    model: LoadedModel,
    other_params: Params,
    logits_of: LogitsOf,
) -> None:
    asked = request(prompt(6), 20, seed=1, temperature=1.0)
    replies: dict[Job, Reply] = {}
    job = submit(scheduler, asked)
    for _ in range(6):
        step(scheduler, replies)
    scheduler.adopt(Weights(other_params, 5))
    while not scheduler.is_idle:
        step(scheduler, replies)
    reply = replies[job]
    assert reply.versions == [0] * 8 + [5] * 12  # one of them was under way
    before = recomputed(logits_of, model.params, asked, reply.ids)
    np.testing.assert_allclose(reply.logprobs_t1[:8], before[:8], atol=1e-4)
    after = switched_logprobs(model, other_params, (*asked.prompt_ids, *reply.ids), 6 + 7)
    np.testing.assert_allclose(reply.logprobs_t1[8:], after, atol=1e-4)
    assert np.abs(after - before[8:]).max() > 1e-2


def test_a_prompt_is_read_by_one_version(
    scheduler: Scheduler, other_params: Params, logits_of: LogitsOf
) -> None:
    asked = request(prompt(97), 5, seed=1, temperature=1.0)
    replies: dict[Job, Reply] = {}
    job = submit(scheduler, asked)
    step(scheduler, replies)
    step(scheduler, replies)
    assert job not in replies  # half of its four chunks are read
    scheduler.adopt(Weights(other_params, 5))
    while not scheduler.is_idle:
        step(scheduler, replies)
    assert replies[job].versions == [5] * 5
    expected = recomputed(logits_of, other_params, asked, replies[job].ids)
    np.testing.assert_allclose(replies[job].logprobs_t1, expected, atol=1e-4)


def switched_logprobs(
    model: LoadedModel, new: Params, ids: tuple[int, ...], switch: int
) -> np.ndarray:
    """Log-probs of `ids[switch + 1:]` where the cache before `switch` is the old weights'."""
    whole = Transformer(model.architecture)
    tokens = jnp.asarray([ids[:-1]])
    positions = jnp.arange(len(ids) - 1)[None]

    def attend(q: Array, k: Array, v: Array, past: Any) -> tuple[Array, Any]:
        if past is not None:
            k, v = (jnp.concatenate(pair, axis=1) for pair in zip(past, (k, v), strict=True))
        queries = jnp.arange(k.shape[1])[-q.shape[1] :, None]
        mask = (jnp.arange(k.shape[1])[None] <= queries)[None]
        return grouped_attention(q, k, v, mask), (k, v)

    @jax.jit
    def logits(old: Params, new: Params) -> Array:
        _, past = whole.bind({"params": old})(tokens[:, :switch], positions[:, :switch], attend)
        bound = whole.bind({"params": new})
        hidden, _ = bound(tokens[:, switch:], positions[:, switch:], attend, past)
        return bound.logits(hidden)[0]

    logprobs = log_softmax(np.asarray(logits(model.params, new)))
    return logprobs[np.arange(len(logprobs)), list(ids[switch + 1 :])]


def test_stop_ids_and_eos_end_the_reply_and_stay_out_of_the_text(
    scheduler: Scheduler, model: LoadedModel
) -> None:
    asked = request(prompt(10), 30, seed=2, temperature=1.0)
    [whole] = run(scheduler, asked)
    target = whole.ids[9]
    first = whole.ids.index(target)
    stopped = replace(asked, sampling=replace(asked.sampling, stop_token_ids=(target,)))
    [reply] = run(scheduler, stopped)
    assert reply.ids == whole.ids[: first + 1]
    assert len(reply.logprobs) == first + 1
    assert reply.finish_reason is FinishReason.STOP
    assert reply.text == model.tokenizer.decode(whole.ids[:first])
    scheduler._eos_ids = frozenset({target})
    [ended] = run(scheduler, replace(asked, sampling=replace(asked.sampling, ignore_eos=False)))
    assert ended.ids == reply.ids
    assert ended.finish_reason is FinishReason.STOP


def test_a_stop_string_ends_the_reply_and_is_never_shown(
    scheduler: Scheduler, model: LoadedModel
) -> None:
    asked = request(prompt(10), 40, seed=4, temperature=1.0)
    [whole] = run(scheduler, asked)
    words = model.tokenizer.decode(whole.ids)
    assert whole.text == words
    stop = words[12:15]
    cut = words[: words.index(stop)]
    [reply] = run(scheduler, replace(asked, sampling=replace(asked.sampling, stop=(stop,))))
    assert reply.text == cut
    assert reply.ids == whole.ids[: len(reply.ids)]
    assert stop in model.tokenizer.decode(reply.ids)
    assert reply.finish_reason is FinishReason.STOP


def test_alternatives_come_only_to_who_asks(scheduler: Scheduler) -> None:
    asked = request(prompt(10), 5, top_logprobs=3)
    replies = run(scheduler, asked, request(prompt(10), 5))
    for chunk in replies[0].chunks:
        [alternatives] = chunk.top_logprobs
        assert len(alternatives) == 3
        assert alternatives[0][0] == chunk.token_ids[0]
        assert alternatives[0][1] == pytest.approx(chunk.sampler_logprobs_t1[0], abs=1e-5)
    assert all(chunk.top_logprobs == () for chunk in replies[1].chunks)


def test_nothing_compiles_after_warm_up(scheduler: Scheduler, decoder: Decoder) -> None:
    compiled: list[str] = []

    def listen(event: str, seconds: float, **_: object) -> None:
        if "backend_compile" in event:
            compiled.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        jax.jit(lambda x: x * 3 + 1)(np.ones(5))
        assert compiled, "the listener hears compilations"
        compiled.clear()
        rng = np.random.default_rng(1)
        asked = [
            request(prompt(int(rng.integers(1, 110)), seed=i), int(rng.integers(1, 17)), seed=i,
                    temperature=float(i % 3) / 2, top_k=i % 4, top_p=1 - (i % 2) / 5,
                    top_logprobs=i % 2)
            for i in range(20)
        ]  # fmt: skip
        run(scheduler, *asked)
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert compiled == []
    assert decoder.compiled >= decoder.shapes()


def test_the_urgent_come_first_and_what_they_displace_goes_on_where_it_was(
    model: LoadedModel, scheduler: Scheduler, logits_of: LogitsOf
) -> None:
    patient = [request(prompt(20, seed=n), 30, seed=n, temperature=1.0) for n in range(4)]
    patient = [replace(one, priority=2) for one in patient]
    alone = {one: run(scheduler, one)[0].ids for one in patient}
    replies: dict[Job, Reply] = {}
    jobs = [submit(scheduler, one) for one in patient]
    for _ in range(8):
        step(scheduler, replies)
    assert scheduler.running == 3
    before = {job: len(replies[job].ids) for job in jobs[:3]}
    urgent = [request(prompt(7, seed=50 + n), 5, seed=n, temperature=1.0) for n in range(2)]
    late = [submit(scheduler, one) for one in urgent]
    step(scheduler, replies)
    assert late[0] in replies
    while not all(job in replies and replies[job].finish_reason for job in late):
        step(scheduler, replies)
    assert len(replies[jobs[2]].ids) == before[jobs[2]]  # the last to come made room
    assert jobs[3] not in replies
    while not scheduler.is_idle:
        step(scheduler, replies)
    for asked, job in zip([*patient, *urgent], [*jobs, *late], strict=True):
        assert replies[job].finish_reason is FinishReason.LENGTH
        assert_consistent(logits_of, model.params, {asked: replies[job]})
        assert replies[job].ids == alone.get(asked, replies[job].ids)


def test_equals_do_not_displace_each_other(scheduler: Scheduler) -> None:
    replies: dict[Job, Reply] = {}
    jobs = [submit(scheduler, request(prompt(5, seed=n), 6, seed=n)) for n in range(4)]
    while not scheduler.is_idle:
        step(scheduler, replies)
        if jobs[3] in replies:
            assert any(replies[job].finish_reason for job in jobs[:3])


def test_cancelling_who_was_displaced_ends_it(scheduler: Scheduler) -> None:
    replies: dict[Job, Reply] = {}
    jobs = [
        submit(scheduler, replace(request(prompt(5, seed=n), 20, seed=n), priority=1))
        for n in range(3)
    ]
    for _ in range(4):
        step(scheduler, replies)
    submit(scheduler, request(prompt(5, seed=9), 3))
    step(scheduler, replies)
    length = len(replies[jobs[2]].ids)
    jobs[2].is_cancelled = True
    while not scheduler.is_idle:
        step(scheduler, replies)
    assert len(replies[jobs[2]].ids) == length
