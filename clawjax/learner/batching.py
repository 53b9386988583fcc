"""Samples to padded arrays of few shapes; where tuples end and arrays begin.

Owns how much a turn and a token weigh. Invariants: nothing is cut; array index t of every `[B, T]`
array speaks of token t itself (not of the position that predicts it); shapes depend only on the
length bucket, so there are at most as many compiled programs as buckets; weights of a whole batch
sum to 1, however it is divided.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from clawjax.errors import LearnerError
from clawjax.records import Sample

__all__ = ["Batch", "MicroBatch", "make_batch", "response_values"]


class MicroBatch(NamedTuple):
    """One forward and backward pass. All but the lengths of a turn is 0 where there is padding."""

    token_ids: np.ndarray
    """`[B, T]` int32."""
    token_mask: np.ndarray
    """`[B, T]` bool, prompt and response."""
    response_mask: np.ndarray
    """`[B, T]` bool."""
    sampler_logprobs: np.ndarray
    """`[B, T]` float32."""
    advantages: np.ndarray
    """`[B, T]` float32."""
    weights: np.ndarray
    """`[B, T]` float32: what a token's loss counts for in the whole batch's."""
    staleness: np.ndarray
    """`[B, T]` int32: versions between sampling and now."""
    temperature: np.ndarray
    """`[B]` float32, at which the reply was drawn; 1 in empty rows."""
    is_comparable: np.ndarray
    """`[B]` bool: whether sampler log-probs are those of the whole distribution."""


class Batch(NamedTuple):
    """What one optimiser step consumes."""

    micro_batches: tuple[MicroBatch, ...]
    turn_ids: tuple[tuple[str, ...], ...]
    """Of the rows of each micro-batch, without the empty rows at its end."""


def make_batch(
    samples: Sequence[Sample],
    *,
    version: int,
    length_buckets: Sequence[int],
    micro_batch_tokens: int,
    truncated: Collection[str] = (),
) -> Batch:
    """Lay samples out, longest first, in micro-batches of about `micro_batch_tokens`.

    Every turn weighs the same, `1 / turns`, and shares it equally among its response tokens: a
    reaction is one vote, however long the reply it is about. (It follows that a token of a short
    reply weighs more than one of a long reply.)

    Args:
        samples: at least one; each with a prompt and a response.
        version: the current policy version.
        length_buckets: padded lengths, any order.
        micro_batch_tokens: rows per micro-batch are this over the padded length, at least 1.
        truncated: turns sampled with top-p, top-k or min-p. Their sampler log-probs are those of
            the truncated distribution: right for the ratio, no measure of numerical mismatch.

    Raises:
        LearnerError: a sample exceeds the longest bucket, or is not aligned.
    """
    if not samples:
        msg = "a batch needs at least one sample"
        raise LearnerError(msg)
    longest_first = sorted(samples, key=_length, reverse=True)
    micro_batches, turn_ids = [], []
    for rows, length, members in _groups(longest_first, sorted(length_buckets), micro_batch_tokens):
        micro = _empty(rows, length)
        for row, sample in enumerate(members):
            _fill(micro, row, sample, version, 1.0 / len(samples))
            micro.is_comparable[row] = sample.turn_id not in truncated
        micro_batches.append(micro)
        turn_ids.append(tuple(sample.turn_id for sample in members))
    return Batch(tuple(micro_batches), tuple(turn_ids))


def response_values(values: np.ndarray, micro: MicroBatch) -> list[np.ndarray]:
    """The response part of each row of `values [B, T]`, empty rows included."""
    return [row[mask] for row, mask in zip(values, micro.response_mask, strict=True)]


def _length(sample: Sample) -> int:
    return len(sample.prompt_ids) + len(sample.response_ids)


def _groups(
    longest_first: Sequence[Sample], buckets: Sequence[int], tokens: int
) -> Iterator[tuple[int, int, Sequence[Sample]]]:
    """Rows, padded length and members; shorter samples fill rows that would be empty anyway."""
    start = 0
    while start < len(longest_first):
        longest = longest_first[start]
        length = next((b for b in buckets if b >= _length(longest)), None)
        if length is None:
            msg = (
                f"turn {longest.turn_id} has {_length(longest)} tokens, above the longest of "
                f"learner.length_buckets ({buckets[-1]}): add a bucket or lower learner.max_tokens"
            )
            raise LearnerError(msg)
        rows = max(1, tokens // length)
        yield rows, length, longest_first[start : start + rows]
        start += rows


def _empty(rows: int, length: int) -> MicroBatch:
    shape = (rows, length)
    return MicroBatch(
        token_ids=np.zeros(shape, np.int32),
        token_mask=np.zeros(shape, bool),
        response_mask=np.zeros(shape, bool),
        sampler_logprobs=np.zeros(shape, np.float32),
        advantages=np.zeros(shape, np.float32),
        weights=np.zeros(shape, np.float32),
        staleness=np.zeros(shape, np.int32),
        temperature=np.ones(rows, np.float32),
        is_comparable=np.zeros(rows, bool),
    )


def _fill(micro: MicroBatch, row: int, sample: Sample, version: int, turn_weight: float) -> None:
    prompt, count = len(sample.prompt_ids), len(sample.response_ids)
    per_token = (sample.sampler_logprobs, sample.token_versions, sample.credit)
    if not prompt or not count or any(len(values) != count for values in per_token):
        msg = f"turn {sample.turn_id}: {prompt} prompt and {count} response tokens, per-token " + (
            f"values of {[len(values) for values in per_token]}; each must match the response"
        )
        raise LearnerError(msg)
    response = slice(prompt, prompt + count)
    micro.token_ids[row, : prompt + count] = (*sample.prompt_ids, *sample.response_ids)
    micro.token_mask[row, : prompt + count] = True
    micro.response_mask[row, response] = True
    micro.sampler_logprobs[row, response] = sample.sampler_logprobs
    micro.advantages[row, response] = sample.credit
    micro.weights[row, response] = turn_weight / count
    micro.staleness[row, response] = version - np.asarray(sample.token_versions)
    micro.temperature[row] = sample.temperature
