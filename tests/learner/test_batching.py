"""Samples to arrays and back: nothing cut, nothing weighed twice."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from learner_records import conversation, make_sample

from clawjax.config import Normalisation
from clawjax.errors import LearnerError
from clawjax.learner.batching import Batch, make_batch, turn_values
from clawjax.records import Sample

BUCKETS = (8, 16, 32)


@st.composite
def samples(draw: st.DrawFn) -> list[Sample]:
    sizes = st.tuples(st.integers(1, 16), st.integers(1, 16), st.integers(0, 3))
    drawn = draw(st.lists(sizes, min_size=1, max_size=20))
    return [
        make_sample(f"t{i}", prompt, response, version=version, seed=i, credit=i - 3.0)
        for i, (prompt, response, version) in enumerate(drawn)
    ]


def batched(samples: list[Sample], tokens: int = 32, *, is_packed: bool = True) -> Batch:
    return make_batch(
        samples,
        version=3,
        length_buckets=BUCKETS,
        micro_batch_tokens=tokens,
        is_packed=is_packed,
    )


def segment_of(batch: Batch, turn_id: str) -> tuple[int, int]:
    """Row and segment of a turn in a batch of one micro-batch."""
    (micro,), (spans,) = batch.micro_batches, batch.spans
    span = next(span for span in spans if span.turn_id == turn_id)
    return span.row, int(micro.segment_ids[span.row, span.start])


FIELDS = ("token_ids", "sampler_logprobs", "advantages", "staleness", "weights", "temperature")


def turns(batch: Batch) -> dict[str, dict[str, tuple[float, ...]]]:
    """Every turn's response, read back field by field."""
    found: dict[str, dict[str, tuple[float, ...]]] = {}
    for name in FIELDS:
        values = turn_values([getattr(micro, name) for micro in batch.micro_batches], batch)
        for turn_id, response in values.items():
            found.setdefault(turn_id, {})[name] = tuple(response.tolist())
    return found


@settings(deadline=None)
@given(samples(), st.sampled_from([1, 16, 32, 64]))
def test_unbatching_gives_the_samples_back(drawn: list[Sample], tokens: int) -> None:
    found = turns(batched(drawn, tokens))
    assert found.keys() == {sample.turn_id for sample in drawn}
    for sample in drawn:
        fields = found[sample.turn_id]
        assert fields["token_ids"] == sample.response_ids
        np.testing.assert_array_equal(
            fields["sampler_logprobs"], np.float32(sample.sampler_logprobs)
        )
        assert fields["advantages"] == sample.credit
        assert fields["staleness"] == tuple(3 - v for v in sample.token_versions)


@settings(deadline=None)
@given(samples(), st.sampled_from([1, 16, 32, 64]))
def test_every_turn_weighs_the_same_however_the_batch_is_divided(
    drawn: list[Sample], tokens: int
) -> None:
    for fields in turns(batched(drawn, tokens)).values():
        assert sum(fields["weights"]) == pytest.approx(1 / len(drawn), rel=1e-5)
        assert len(set(fields["weights"])) == 1


@settings(deadline=None)
@given(samples(), st.sampled_from([1, 16, 32, 64]))
def test_padding_is_inert_and_shapes_are_few(drawn: list[Sample], tokens: int) -> None:
    batch = batched(drawn, tokens)
    for micro in batch.micro_batches:
        rows, length = micro.token_ids.shape
        assert length in BUCKETS
        assert rows == max(1, tokens // length)
        assert not (micro.response_mask & (micro.segment_ids == 0)).any()
        assert not micro.response_mask[micro.positions == 0].any()
        for name in ("weights", "advantages", "sampler_logprobs", "staleness"):
            assert not getattr(micro, name)[~micro.response_mask].any()
        assert not (micro.is_comparable & ~micro.response_mask).any()
        assert not micro.token_ids[micro.segment_ids == 0].any()
        assert not micro.positions[micro.segment_ids == 0].any()
        assert (micro.temperature > 0).all()


@settings(deadline=None)
@given(samples(), st.randoms())
def test_the_order_of_samples_changes_nothing_but_the_order(drawn: list[Sample], rng) -> None:
    shuffled = list(drawn)
    rng.shuffle(shuffled)
    assert turns(batched(drawn)) == turns(batched(shuffled))


@settings(deadline=None)
@given(samples(), st.sampled_from([1, 16, 32, 64]))
def test_packing_saves_padding_and_changes_nothing_else(drawn: list[Sample], tokens: int) -> None:
    packed, padded = batched(drawn, tokens), batched(drawn, tokens, is_packed=False)
    assert turns(packed) == turns(padded)
    sizes = [sum(m.token_ids.size for m in batch.micro_batches) for batch in (packed, padded)]
    assert sizes[0] <= sizes[1]
    for micro in padded.micro_batches:
        assert micro.segment_ids.max() == 1


@settings(deadline=None)
@given(samples())
def test_a_segment_is_one_sequence_counted_from_zero(drawn: list[Sample]) -> None:
    by_id = {sample.turn_id: sample for sample in drawn}
    batch = batched(drawn)
    for micro, spans in zip(batch.micro_batches, batch.spans, strict=True):
        for span in spans:
            sample = by_id[span.turn_id]
            begin = span.start - len(sample.prompt_ids)
            at = (span.row, slice(begin, span.stop))
            assert tuple(micro.token_ids[at]) == sample.prompt_ids + sample.response_ids
            assert micro.positions[at].tolist() == list(range(span.stop - begin))
            assert len(set(micro.segment_ids[at].tolist())) == 1


def test_short_turns_fill_rows_that_would_be_empty() -> None:
    long, short = make_sample("long", 10, 4, seed=1), make_sample("short", 2, 2, seed=2)
    shorter = make_sample("shorter", 1, 1, seed=3)
    batch = batched([short, shorter, long])
    assert batch.micro_batches[0].token_ids.shape == (2, 16)
    assert [(span.turn_id, span.row) for span in batch.spans[0]] == [
        ("long", 0),
        ("shorter", 0),
        ("short", 1),
    ]


def test_turns_of_a_conversation_share_a_segment_and_forks_do_not() -> None:
    samples = conversation()
    batch = batched(samples, tokens=64)
    found = {sample.turn_id: segment_of(batch, sample.turn_id) for sample in samples}
    assert found == {"first": (0, 1), "second": (0, 1), "third": (0, 1), "fork": (1, 1)}
    assert (batch.micro_batches[0].segment_ids > 0).sum() == 32 + 18
    for sample in samples:
        fields = turns(batch)[sample.turn_id]
        assert fields["token_ids"] == sample.response_ids
        assert fields["advantages"] == sample.credit


def test_equal_replies_to_one_prompt_each_have_their_own_segment() -> None:
    twin = make_sample("a", 2, 2)
    batch = batched([twin, dataclasses.replace(twin, turn_id="b", credit=(-1.0, -1.0))])
    assert (segment_of(batch, "a"), segment_of(batch, "b")) == ((0, 1), (0, 2))
    assert turns(batch)["b"]["advantages"] == (-1.0, -1.0)


def test_turns_that_were_truncated_while_sampling_are_marked() -> None:
    batch = make_batch(
        [
            make_sample("a", 4, 4, seed=1),
            dataclasses.replace(make_sample("b", 3, 3, seed=2), is_truncated=True),
        ],
        version=0,
        length_buckets=BUCKETS,
        micro_batch_tokens=32,
    )
    (micro,) = batch.micro_batches
    assert micro.is_comparable[0, 4:8].all()
    assert micro.is_comparable.sum() == 4
    assert (micro.is_truncated == (micro.response_mask & ~micro.is_comparable)).all()
    assert micro.is_truncated.sum() == 3


def test_too_long_is_an_error_and_never_a_cut() -> None:
    with pytest.raises(LearnerError, match="33 tokens, above the longest"):
        batched([make_sample("t1", 20, 13)])


@pytest.mark.parametrize("field", ["sampler_logprobs", "token_versions", "credit"])
def test_misaligned_samples_are_refused(field: str) -> None:
    sample = make_sample()
    cut = dataclasses.replace(sample, **{field: getattr(sample, field)[:-1]})
    with pytest.raises(LearnerError, match="each must match the response"):
        batched([cut])


def test_an_empty_batch_is_refused() -> None:
    with pytest.raises(LearnerError, match="at least one"):
        batched([])


def test_a_reply_that_spans_a_weight_swap_is_not_compared() -> None:
    mixed = dataclasses.replace(make_sample("a", 4, 4, seed=1), token_versions=(0, 0, 1, 1))
    whole = dataclasses.replace(make_sample("b", 4, 4, seed=2), token_versions=(1, 1, 1, 1))
    batch = make_batch([mixed, whole], version=1, length_buckets=BUCKETS, micro_batch_tokens=32)
    assert sum(micro.is_comparable.sum() for micro in batch.micro_batches) == 4


def test_turns_are_numbered_within_a_micro_batch() -> None:
    batch = batched(conversation(), tokens=64)
    (micro,), (spans,) = batch.micro_batches, batch.spans
    for number, span in enumerate(spans, start=1):
        assert set(micro.turn_ids[span.row, span.start : span.stop].tolist()) == {number}
    assert ((micro.turn_ids > 0) == micro.response_mask).all()


def test_under_a_constant_a_turn_weighs_by_its_length() -> None:
    batch = make_batch(
        [make_sample("a", 2, 4, seed=1), make_sample("b", 2, 8, seed=2)],
        version=0,
        length_buckets=BUCKETS,
        micro_batch_tokens=32,
        normalisation=Normalisation.constant,
        constant_tokens=8,
    )
    weights = turn_values([micro.rl_weights for micro in batch.micro_batches], batch)
    assert weights["a"].sum() == pytest.approx(0.25)
    assert weights["b"].sum() == pytest.approx(0.5)


def test_under_a_sum_every_token_counts_in_full() -> None:
    batch = make_batch(
        [make_sample("a", 2, 4, seed=1), make_sample("b", 2, 8, seed=2)],
        version=0,
        length_buckets=BUCKETS,
        micro_batch_tokens=32,
        normalisation=Normalisation.turn_sum,
    )
    weights = turn_values([micro.rl_weights for micro in batch.micro_batches], batch)
    assert {*weights["a"].tolist(), *weights["b"].tolist()} == {0.5}
