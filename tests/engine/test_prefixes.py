"""What the cache still holds is not read again, and never mistaken for something else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from engine_driver import (
    LogitsOf,
    Reply,
    assert_consistent,
    prompt,
    recomputed,
    request,
    run,
    step,
    submit,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from clawjax.engine.decode import Decoder, Read
from clawjax.engine.prefixes import Copy, PrefixTable
from clawjax.engine.replies import Job
from clawjax.engine.scheduler import Scheduler, Weights
from clawjax.engine.text import ReplyText
from clawjax.models.load import LoadedModel
from clawjax.models.transformer import Params


def ids(*tokens: int) -> np.ndarray:
    return np.asarray(tokens, np.int32)


def count(*, start: int = 0, stop: int) -> np.ndarray:
    return np.arange(start, stop, dtype=np.int32)


def test_a_conversation_that_goes_on_stays_where_it_is() -> None:
    table = PrefixTable(2, 1, shortest=4)
    assert table.place(count(stop=10), 0) == ((), 0)
    table.hold(0, count(stop=14))
    assert table.place(count(stop=20), 0) == ((), 14)
    assert table.held(0) == 14


def test_one_token_is_always_left_to_read() -> None:
    table = PrefixTable(1, 0, shortest=4)
    table.hold(0, count(stop=10))
    assert table.place(count(stop=10), 0) == ((), 9)
    assert table.place(count(stop=5), 0) == ((), 4)


def test_what_another_row_holds_is_copied_and_what_would_be_lost_is_stored() -> None:
    table = PrefixTable(2, 1, shortest=4)
    table.hold(0, count(stop=12))
    table.hold(1, count(start=50, stop=60))
    other = np.concatenate([count(stop=8), count(start=90, stop=99)])
    placed = table.place(other, 1)
    assert placed == ((Copy(1, 2, 10), Copy(0, 1, 8)), 8)
    assert [table.held(row) for row in range(3)] == [12, 8, 10]
    back = table.place(count(start=50, stop=70), 1)  # the stored one goes on; no store is free
    assert back == ((Copy(2, 1, 10),), 10)


def test_the_least_recently_used_is_given_up_first() -> None:
    table = PrefixTable(1, 2, shortest=4)
    for base in (100, 200, 300):
        table.place(count(start=base, stop=base + 9), 0)
        table.hold(0, count(start=base, stop=base + 9))
    assert table.place(count(start=100, stop=120), 0) == ((Copy(0, 2, 9), Copy(1, 0, 9)), 9)
    table.hold(0, count(start=100, stop=109))
    # 100 was used last, 300 before it: 200 is gone
    assert table.place(count(start=200, stop=220), 0).held == 0


def test_short_beginnings_are_not_worth_a_copy() -> None:
    table = PrefixTable(2, 1, shortest=8)
    table.hold(0, count(stop=7))
    assert table.place(count(stop=20), 1) == ((), 0)
    assert table.place(count(start=30, stop=50), 0) == ((), 0)  # nor is what is lost worth keeping


def test_what_was_read_for_one_key_is_not_found_by_another() -> None:
    table = PrefixTable(2, 2, shortest=4)
    table.place(count(stop=12), 0, "a")
    table.hold(0, count(stop=12))
    assert table.place(count(stop=20), 1, "b") == ((), 0)
    table.hold(1, count(stop=20))
    assert table.place(count(stop=30), 1, "a") == ((Copy(1, 2, 20), Copy(0, 1, 12)), 12), (
        "a row that another key's row covers is kept all the same"
    )
    assert table.place(count(stop=30), 0, "b") == ((Copy(2, 0, 20),), 20), "from the store"
    assert table.place(count(stop=30), 1, None).held == 0


def test_other_weights_make_everything_worthless() -> None:
    table = PrefixTable(1, 1, shortest=4)
    table.hold(0, count(stop=12))
    table.forget()
    assert table.place(count(stop=20), 0) == ((), 0)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_the_account_says_what_a_device_would_hold(data: st.DataObject) -> None:
    slots, kept = 3, 2
    table = PrefixTable(slots, kept, shortest=3)
    device = [np.full(16, -1, np.int32) for _ in range(slots + kept)]
    owner: list[str | None] = [None] * (slots + kept)
    for _ in range(data.draw(st.integers(1, 25))):
        tokens = np.asarray(
            data.draw(st.lists(st.integers(0, 1), min_size=1, max_size=14)), np.int32
        )
        row = data.draw(st.integers(0, slots - 1))
        scope = data.draw(st.sampled_from([None, "a"]))
        placed = table.place(tokens, row, scope)
        for source, target, length in placed.copies:
            device[target][:length] = device[source][:length]
            owner[target] = owner[source]
        assert not placed.held or owner[row] == scope
        owner[row] = scope
        assert placed.held < len(tokens)
        np.testing.assert_array_equal(device[row][: placed.held], tokens[: placed.held])
        device[row][: len(tokens)] = tokens
        table.hold(row, tokens)
        for index, content in enumerate(device):
            np.testing.assert_array_equal(content[: table.held(index)], table._rows[index])


class Counting:
    """How many prompt tokens a scheduler reads."""

    def __init__(self, decoder: Decoder, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tokens, original, along = 0, decoder.prefill, decoder.mixed

        def prefill(params: Params, reads: Sequence[Read], rows: Any, **rest: Any) -> Any:
            done, drawn = original(params, reads, rows, **rest)
            self.tokens += sum(done) - sum(read.start for read in reads)
            return done, drawn

        def mixed(*fed: Any, **rest: Any) -> Any:
            done, drawn = along(*fed, **rest)
            self.tokens += done - fed[-1].start
            return done, drawn

        monkeypatch.setattr(decoder, "prefill", prefill)
        monkeypatch.setattr(decoder, "mixed", mixed)


@pytest.fixture
def read(decoder: Decoder, monkeypatch: pytest.MonkeyPatch) -> Counting:
    return Counting(decoder, monkeypatch)


def test_a_conversation_reads_only_what_is_new(
    model: LoadedModel,
    scheduler: Scheduler,
    read: Counting,
    logits_of: LogitsOf,
) -> None:
    first = request(prompt(60), 8, seed=1, temperature=1.0)
    [reply] = run(scheduler, first)
    read.tokens = 0
    more = (*first.prompt_ids, *reply.ids, *prompt(5, seed=9))
    second = request(more, 8, seed=2, temperature=1.0)
    [answer] = run(scheduler, second)
    assert read.tokens == len(more) - (60 + 8 - 1)  # the last token drawn was never fed
    assert_consistent(logits_of, model.params, {second: answer})


def test_the_share_of_known_tokens_is_counted_and_reuse_can_be_switched_off(
    model: LoadedModel, decoder: Decoder, scheduler: Scheduler, read: Counting
) -> None:
    forgetful = Scheduler(
        decoder,
        Weights(model.params, 0),
        eos_ids=model.tokenizer.eos_ids,
        new_text=lambda stops, _: ReplyText(model.tokenizer.detokenizer(), stops),
        reuse_prefixes=False,
    )
    first = request(prompt(60), 8, seed=1)
    replies, read_by = {}, {}
    for one in (scheduler, forgetful):
        read.tokens = 0
        [reply] = run(one, first)
        second = request((*first.prompt_ids, *reply.ids, *prompt(5, seed=9)), 8, seed=2)
        replies[one] = [reply, *run(one, second)]
        read_by[one] = read.tokens
    counts = [(one.prompt_tokens, one.cached_tokens) for one in (scheduler, forgetful)]
    assert counts == [(60 + 73, 60 + 8 - 1), (60 + 73, 0)]
    assert read_by[forgetful] == read_by[scheduler] + 60 + 8 - 1
    assert [[r.ids for r in one] for one in replies.values()] == [
        [r.ids for r in replies[scheduler]]
    ] * 2


def test_what_many_prompts_begin_with_is_read_once_while_all_of_them_run(
    model: LoadedModel,
    scheduler: Scheduler,
    read: Counting,
    logits_of: LogitsOf,
) -> None:
    system = prompt(50)
    asked = [
        request((*system, *prompt(6, seed=n)), 12, seed=n, temperature=1.0) for n in range(1, 7)
    ]
    replies: dict[Job, Reply] = {}
    jobs = [submit(scheduler, asked[0])]
    while not replies:
        step(scheduler, replies)
    read.tokens = 0
    jobs += [submit(scheduler, one) for one in asked[1:]]
    while not scheduler.is_idle:
        step(scheduler, replies)
    assert read.tokens == 5 * 6
    pairs = zip(asked, jobs, strict=True)
    assert_consistent(logits_of, model.params, {one: replies[job] for one, job in pairs})


def test_each_key_reads_the_same_prompt_for_itself(scheduler: Scheduler, read: Counting) -> None:
    asked = replace(request(prompt(60), 4, seed=1), cache_scope="a")
    run(scheduler, asked)
    read.tokens = 0
    [reply] = run(scheduler, replace(asked, cache_scope="b"))
    assert (read.tokens, reply.chunks[0].cached_tokens) == (60, 0)
    [again] = run(scheduler, replace(asked, cache_scope="a"))
    assert again.chunks[0].cached_tokens == 59


def test_conversations_beyond_the_slots_come_back_from_the_store(
    model: LoadedModel,
    scheduler: Scheduler,
    read: Counting,
    logits_of: LogitsOf,
) -> None:
    talks = [request(prompt(40, seed=n), 4, seed=n, temperature=1.0) for n in range(3)]
    so_far = [(*one.prompt_ids, *run(scheduler, one)[0].ids) for one in talks]
    read.tokens = 0
    for turn in range(3):  # one after the other in the same slot
        for n, tokens in enumerate(so_far):
            asked = request((*tokens, 7 + turn, 8), 4, seed=10 * n + turn, temperature=1.0)
            [reply] = run(scheduler, asked)
            assert_consistent(logits_of, model.params, {asked: reply})
            so_far[n] = (*asked.prompt_ids, *reply.ids)
    assert read.tokens == 9 * 3


def test_nothing_of_other_weights_is_used(
    scheduler: Scheduler,
    read: Counting,
    other_params: Params,
    logits_of: LogitsOf,
) -> None:
    asked = request(prompt(60), 8, seed=1, temperature=1.0)
    replies: dict[Job, Reply] = {}
    submit(scheduler, asked)
    while not replies:
        step(scheduler, replies)
    scheduler.adopt(Weights(other_params, 5))  # under a running reply
    while not scheduler.is_idle:
        step(scheduler, replies)
    read.tokens = 0
    [again] = run(scheduler, asked)
    assert read.tokens == 60
    expected = recomputed(logits_of, other_params, asked, again.ids)
    np.testing.assert_allclose(again.logprobs_t1, expected, atol=1e-4)


def test_a_cancelled_prompt_is_gone_on_with_where_it_was_left(
    model: LoadedModel,
    scheduler: Scheduler,
    read: Counting,
    logits_of: LogitsOf,
) -> None:
    asked = request(prompt(97), 4, seed=1, temperature=1.0)
    job = submit(scheduler, asked)
    step(scheduler, {})
    step(scheduler, {})
    job.is_cancelled = True
    step(scheduler, {})
    read.tokens = 0
    [reply] = run(scheduler, asked)
    assert read.tokens == 97 - 64
    assert_consistent(logits_of, model.params, {asked: reply})


@pytest.mark.parametrize("how", ["cancelled", "retracted"])
def test_what_other_weights_have_read_is_not_gone_on_with(
    scheduler: Scheduler,
    read: Counting,
    logits_of: LogitsOf,
    other_params: Params,
    how: str,
) -> None:
    """Half of a prompt is read, the weights change, and it is left before its next chunk."""
    asked = request(prompt(97), 4, seed=1, temperature=1.0)
    replies: dict[Job, Reply] = {}
    job = submit(scheduler, asked)
    step(scheduler, replies)
    step(scheduler, replies)
    scheduler.adopt(Weights(other_params, 5))
    if how == "cancelled":
        job.is_cancelled = True
        step(scheduler, replies)
        job = submit(scheduler, asked)
    else:
        scheduler.retract_all()
    read.tokens = 0
    while not scheduler.is_idle:
        step(scheduler, replies)
    assert read.tokens == 97
    expected = recomputed(logits_of, other_params, asked, replies[job].ids)
    np.testing.assert_allclose(replies[job].logprobs_t1, expected, atol=1e-4)


def test_a_full_context_is_gone_on_with_within_the_cache(
    model: LoadedModel,
    scheduler: Scheduler,
    logits_of: LogitsOf,
) -> None:
    first = request(prompt(100), 3, seed=1, temperature=1.0)
    run(scheduler, first)
    longer = request((*first.prompt_ids, *prompt(25, seed=2)), 2, seed=2, temperature=1.0)
    [reply] = run(scheduler, longer)  # 100 + a chunk of 32 would end behind the last position
    assert_consistent(logits_of, model.params, {longer: reply})
