"""Samples to arrays and back: nothing cut, nothing weighed twice."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from learner_records import make_sample

from clawjax.errors import LearnerError
from clawjax.learner.batching import Batch, make_batch, response_values
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


def batched(samples: list[Sample], tokens: int = 32) -> Batch:
    return make_batch(samples, version=3, length_buckets=BUCKETS, micro_batch_tokens=tokens)


def rows(batch: Batch) -> list[tuple[str, dict[str, tuple[float, ...]]]]:
    """Every turn's response, read back field by field."""
    found = []
    for micro, turn_ids in zip(batch.micro_batches, batch.turn_ids, strict=True):
        fields = {
            name: response_values(getattr(micro, name), micro)
            for name in ("token_ids", "sampler_logprobs", "advantages", "staleness", "weights")
        }
        for row, turn_id in enumerate(turn_ids):
            found.append((turn_id, {name: tuple(v[row]) for name, v in fields.items()}))
    return found


@settings(deadline=None)
@given(samples(), st.sampled_from([1, 16, 32, 64]))
def test_unbatching_gives_the_samples_back(drawn: list[Sample], tokens: int) -> None:
    found = dict(rows(batched(drawn, tokens)))
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
    for _, fields in rows(batched(drawn, tokens)):
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
        assert not (micro.response_mask & ~micro.token_mask).any()
        assert not micro.response_mask[:, 0].any()
        for name in ("weights", "advantages", "sampler_logprobs", "staleness"):
            assert not getattr(micro, name)[~micro.response_mask].any()
        assert not micro.token_ids[~micro.token_mask].any()
        assert (micro.temperature > 0).all()


@settings(deadline=None)
@given(samples(), st.randoms())
def test_the_order_of_samples_changes_nothing_but_the_order(drawn: list[Sample], rng) -> None:
    shuffled = list(drawn)
    rng.shuffle(shuffled)
    assert dict(rows(batched(drawn))) == dict(rows(batched(shuffled)))


def test_short_turns_fill_rows_that_would_be_empty() -> None:
    long, short = make_sample("long", 10, 6), make_sample("short", 2, 2)
    batch = batched([short, long])
    assert batch.turn_ids == (("long", "short"),)
    assert batch.micro_batches[0].token_ids.shape == (2, 16)


def test_turns_that_were_truncated_while_sampling_are_marked() -> None:
    batch = make_batch(
        [make_sample("a", 4, 4), make_sample("b", 3, 3)],
        version=0,
        length_buckets=BUCKETS,
        micro_batch_tokens=32,
        truncated={"b"},
    )
    assert list(batch.micro_batches[0].is_comparable) == [True, False, False, False]


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
