"""Samples to padded arrays of few shapes; where tuples end and arrays begin.

Owns how much a turn and a token weigh. Invariants: nothing is cut; index t of every `[B, T]` array
speaks of token t itself (not of the position that predicts it); turns of one conversation whose
prompts contain each other share a segment, so that no token is computed twice, and segments share
a row where they fit, so that little is computed for nothing; neither changes anything else about
them. Shapes depend only on the length bucket, so there are at most as many compiled programs as
buckets; what a token weighs does not depend on how the batch is divided.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from clawjax.config import Normalisation
from clawjax.errors import LearnerError
from clawjax.records import Sample

__all__ = ["Batch", "MicroBatch", "Span", "evenly", "joined", "make_batch", "turn_values"]


class MicroBatch(NamedTuple):
    """One forward and backward pass; arrays `[B, T]`, 0 or False off the tokens they speak of."""

    token_ids: np.ndarray
    """int32."""
    segment_ids: np.ndarray
    """int32: which of a row's sequences a token belongs to, from 1; 0 is padding."""
    positions: np.ndarray
    """int32, counted from 0 within each segment."""
    response_mask: np.ndarray
    """bool, tokens that are trained on."""
    turn_ids: np.ndarray
    """int32: which turn of the micro-batch a response token belongs to, from 1; 0 elsewhere."""
    sampler_logprobs: np.ndarray
    """float32."""
    advantages: np.ndarray
    """float32; 0 on turns that nobody scored."""
    teacher_logprobs: np.ndarray
    """float32; 0 on turns without a hint."""
    support_ids: np.ndarray
    """int32 `[B, T, K]`: the tokens that a top-K objective compares; K may be 0."""
    support_logprobs: np.ndarray
    """float32 `[B, T, K]`: the teacher's, of those."""
    weights: np.ndarray
    """float32: what a token counts for among all of the batch's."""
    rl_weights: np.ndarray
    """float32: the same among the tokens of the scored turns; 0 elsewhere."""
    opd_weights: np.ndarray
    """float32: the same among the tokens of the turns with a teacher; 0 elsewhere."""
    staleness: np.ndarray
    """int32: versions between sampling and now."""
    temperature: np.ndarray
    """float32, at which the token was drawn; 1 elsewhere."""
    is_comparable: np.ndarray
    """bool: tokens of replies sampled by the current version throughout, whose sampler log-prob
    is that of the whole distribution: it should equal the trainer's to rounding."""
    is_truncated: np.ndarray
    """bool: tokens of replies that a filter or a grammar held to a part of the distribution."""


class Span(NamedTuple):
    """Where a turn's response is: `[row, start:stop]`."""

    turn_id: str
    row: int
    start: int
    stop: int


class Batch(NamedTuple):
    """What one optimiser step consumes."""

    micro_batches: tuple[MicroBatch, ...]
    spans: tuple[tuple[Span, ...], ...]
    """Of the turns in each micro-batch."""


def make_batch(
    samples: Sequence[Sample],
    *,
    version: int,
    length_buckets: Sequence[int],
    micro_batch_tokens: int,
    is_packed: bool = True,
    normalisation: Normalisation = Normalisation.turn_mean,
    constant_tokens: int = 1,
    support: int = 0,
) -> Batch:
    """Lay samples out, longest first, in micro-batches of about `micro_batch_tokens`.

    Args:
        samples: at least one; each with a prompt and a response.
        version: the current policy version.
        length_buckets: padded lengths, any order.
        micro_batch_tokens: rows per micro-batch are this over the padded length, at least 1.
        is_packed: whether several segments may share a row.
        normalisation: `turn_mean` weighs every turn the same and shares that equally among its
            tokens: a reaction is one vote, however long the reply it is about. (It follows that a
            token of a short reply weighs more than one of a long reply.) `token_mean` weighs
            every token the same. Under `constant` a turn of `constant_tokens` tokens weighs what
            every turn does under `turn_mean`, and others in proportion. Under `turn_sum` every
            token weighs what a turn does under `turn_mean`. Under these two, weights need not
            sum to 1.
        constant_tokens: see there.
        support: how many tokens a top-K objective compares; turns whose teacher brings none have
            padding there, so that shapes do not depend on who was taught.

    Raises:
        LearnerError: a sample exceeds the longest bucket, or is not aligned.
    """
    if not samples:
        msg = "a batch needs at least one sample"
        raise LearnerError(msg)
    layout = _Layout.of(
        samples,
        version,
        support,
        _Weighing(normalisation, constant_tokens),
    )
    rows = _pack(_share_segments(samples), sorted(length_buckets), is_packed=is_packed)
    laid_out = [
        _lay_out(group, max(1, micro_batch_tokens // group[0].length), layout)
        for group in _groups(rows, micro_batch_tokens)
    ]
    return Batch(
        tuple(micro for micro, _ in laid_out), tuple(tuple(spans) for _, spans in laid_out)
    )


def evenly(samples: Sequence[Sample], size: int) -> list[Sequence[Sample]]:
    """Divide in order into as few parts as have at most `size`, whose lengths differ by 1 at most.

    Neighbours stay together: they are often turns of one conversation.
    """
    count = -(-len(samples) // size)
    bounds = [len(samples) * index // count for index in range(count + 1)]
    return [samples[start:stop] for start, stop in pairwise(bounds)]


def joined(batches: Sequence[Batch]) -> Batch:
    """Several as one, to be looked at and not to be trained on: weights stay those of each."""
    return Batch(
        tuple(micro for batch in batches for micro in batch.micro_batches),
        tuple(spans for batch in batches for spans in batch.spans),
    )


def turn_values(values: Sequence[np.ndarray], batch: Batch) -> dict[str, np.ndarray]:
    """The response part of per-token values, `[B, T]` per micro-batch, by turn."""
    return {
        span.turn_id: array[span.row, span.start : span.stop]
        for array, spans in zip(values, batch.spans, strict=True)
        for span in spans
    }


@dataclass(slots=True)
class _Segment:
    """One token sequence, and the turns whose prompt and response it begins with."""

    ids: tuple[int, ...]
    members: list[Sample] = field(default_factory=list)

    def has_room(self, sample: Sample, ids: tuple[int, ...]) -> bool:
        """Whether the sample is a beginning of this one, with a response no other turn holds."""
        if self.ids[: len(ids)] != ids:
            return False
        start, stop = len(sample.prompt_ids), len(ids)
        return all(
            stop <= len(other.prompt_ids)
            or start >= len(other.prompt_ids) + len(other.response_ids)
            for other in self.members
        )


@dataclass(slots=True)
class _Row:
    """Segments side by side, up to a padded length."""

    length: int
    segments: list[_Segment] = field(default_factory=list)

    @property
    def room(self) -> int:
        """Tokens that still fit."""
        return self.length - sum(len(segment.ids) for segment in self.segments)


def _share_segments(samples: Sequence[Sample]) -> list[_Segment]:
    """Longest first. Causal attention makes sharing exact: a token never sees later ones."""
    segments: list[_Segment] = []
    for sample in sorted(samples, key=_length, reverse=True):
        ids = sample.prompt_ids + sample.response_ids
        segment = next((known for known in segments if known.has_room(sample, ids)), None)
        if segment is None:
            segment = _Segment(ids)
            segments.append(segment)
        segment.members.append(sample)
    return segments


def _length(sample: Sample) -> int:
    return len(sample.prompt_ids) + len(sample.response_ids)


def _pack(
    longest_first: Sequence[_Segment], buckets: Sequence[int], *, is_packed: bool
) -> list[_Row]:
    """First fit, decreasing: a segment joins the first row with room, or opens a fitting one."""
    rows: list[_Row] = []
    for segment in longest_first:
        size = len(segment.ids)
        row = next((row for row in rows if is_packed and row.room >= size), None)
        if row is None:
            row = _Row(_bucket(segment, buckets))
            rows.append(row)
        row.segments.append(segment)
    return rows


def _bucket(segment: _Segment, buckets: Sequence[int]) -> int:
    length = next((bucket for bucket in buckets if bucket >= len(segment.ids)), None)
    if length is None:
        msg = (
            f"turn {segment.members[0].turn_id} has {len(segment.ids)} tokens, above the "
            f"longest of learner.length_buckets ({buckets[-1]}): add a bucket or lower "
            "learner.max_tokens"
        )
        raise LearnerError(msg)
    return length


def _groups(rows: Sequence[_Row], tokens: int) -> Iterator[Sequence[_Row]]:
    """The rows of each micro-batch; shorter ones fill it where it would be part empty anyway."""
    start = 0
    while start < len(rows):
        count = max(1, tokens // rows[start].length)
        yield rows[start : start + count]
        start += count


class _Layout(NamedTuple):
    """What filling in a turn takes besides the turn."""

    version: int
    support: int
    """Tokens a top-K objective compares."""
    weigh: _Weigh
    weigh_rl: _Weigh
    weigh_opd: _Weigh

    @classmethod
    def of(
        cls,
        samples: Sequence[Sample],
        version: int,
        support: int,
        weighing: _Weighing,
    ) -> _Layout:
        taught = [sample for sample in samples if sample.teacher is not None]
        return cls(
            version,
            support,
            weighing.over(samples),
            weighing.over([s for s in samples if s.credit is not None]),
            weighing.over(taught),
        )


_Weigh = Callable[[Sample], float]
"""What each response token of a turn counts for."""


class _Weighing(NamedTuple):
    """How a term's weights are shared out."""

    normalisation: Normalisation
    constant_tokens: int

    def over(self, samples: Sequence[Sample]) -> _Weigh:
        """Weights for the response tokens of `samples`."""
        turns = len(samples)
        match self.normalisation:
            case Normalisation.turn_mean:
                return lambda sample: 1.0 / (turns * len(sample.response_ids))
            case Normalisation.token_mean:
                total = sum(len(sample.response_ids) for sample in samples)
                return lambda _: 1.0 / total
            case Normalisation.constant:
                return lambda _: 1.0 / (turns * self.constant_tokens)
            case Normalisation.turn_sum:
                return lambda _: 1.0 / turns


def _lay_out(rows: Sequence[_Row], count: int, layout: _Layout) -> tuple[MicroBatch, list[Span]]:
    """Write rows into a micro-batch of `count` of them, those that are missing left empty."""
    micro, spans = _empty(count, rows[0].length, layout.support), []
    for index, row in enumerate(rows):
        start = 0
        for number, segment in enumerate(row.segments, start=1):
            at = (index, slice(start, start + len(segment.ids)))
            micro.token_ids[at] = segment.ids
            micro.segment_ids[at] = number
            micro.positions[at] = np.arange(len(segment.ids))
            for sample in segment.members:
                span = _span(sample, index, start)
                spans.append(span)
                _fill(micro, span, sample, layout)
                micro.turn_ids[index, span.start : span.stop] = len(spans)
            start += len(segment.ids)
    return micro, spans


def _empty(rows: int, length: int, support: int) -> MicroBatch:
    shape = (rows, length)
    return MicroBatch(
        token_ids=np.zeros(shape, np.int32),
        segment_ids=np.zeros(shape, np.int32),
        positions=np.zeros(shape, np.int32),
        response_mask=np.zeros(shape, bool),
        turn_ids=np.zeros(shape, np.int32),
        sampler_logprobs=np.zeros(shape, np.float32),
        advantages=np.zeros(shape, np.float32),
        teacher_logprobs=np.zeros(shape, np.float32),
        support_ids=np.zeros((*shape, support), np.int32),
        support_logprobs=np.zeros((*shape, support), np.float32),
        weights=np.zeros(shape, np.float32),
        rl_weights=np.zeros(shape, np.float32),
        opd_weights=np.zeros(shape, np.float32),
        staleness=np.zeros(shape, np.int32),
        temperature=np.ones(shape, np.float32),
        is_comparable=np.zeros(shape, bool),
        is_truncated=np.zeros(shape, bool),
    )


def _span(sample: Sample, row: int, offset: int) -> Span:
    """Where the response goes, in a segment that begins at `offset`.

    Raises:
        LearnerError: no prompt, no response, or per-token values of another length.
    """
    prompt, count = len(sample.prompt_ids), len(sample.response_ids)
    per_token = [sample.sampler_logprobs, sample.token_versions]
    if sample.credit is not None:
        per_token.append(sample.credit)
    if sample.teacher is not None:
        per_token += [sample.teacher.logprobs, sample.teacher.support_ids or sample.response_ids]
    if not prompt or not count or any(len(values) != count for values in per_token):
        msg = (
            f"turn {sample.turn_id}: {prompt} prompt and {count} response tokens, per-token "
            f"values of {[len(values) for values in per_token]}; each must match the response"
        )
        raise LearnerError(msg)
    start = offset + prompt
    return Span(sample.turn_id, row, start, start + count)


def _fill(micro: MicroBatch, span: Span, sample: Sample, layout: _Layout) -> None:
    at = (span.row, slice(span.start, span.stop))
    staleness = layout.version - np.asarray(sample.token_versions)
    micro.response_mask[at] = True
    micro.sampler_logprobs[at] = sample.sampler_logprobs
    micro.weights[at] = layout.weigh(sample)
    if sample.credit is not None:
        micro.advantages[at] = sample.credit
        micro.rl_weights[at] = layout.weigh_rl(sample)
    if sample.teacher is not None:
        micro.teacher_logprobs[at] = sample.teacher.logprobs
        micro.opd_weights[at] = layout.weigh_opd(sample)
        if layout.support:
            micro.support_ids[at] = sample.teacher.support_ids
            micro.support_logprobs[at] = sample.teacher.support_logprobs
    micro.staleness[at] = staleness
    micro.temperature[at] = sample.temperature
    micro.is_truncated[at] = sample.is_truncated
    # A weight swap in mid-reply leaves keys and values of the old weights in the sampler's cache,
    # so only replies that the current version sampled throughout can agree to rounding.
    micro.is_comparable[at] = not (sample.is_truncated or staleness.any())
