"""Continuous batching: who sits in which slot, and what runs next.

Owns the slots and every reply under way. Invariants: of what is equally urgent, first come is first
served; what is more urgent takes a slot from what is less, which goes on later where it was;
between two decode steps at most one prompt chunk runs, so a long prompt cannot stall the others; a
slot is free again in the step in which its request ends or is found cancelled; prompt tokens are
never cut. Lives in the worker thread; knows neither asyncio nor threads.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from clawjax.engine.decode import Decoder, Read, idle_rows
from clawjax.engine.prefixes import PrefixTable
from clawjax.engine.sampling import Drawn, SamplingRows
from clawjax.engine.text import ReplyText
from clawjax.models.transformer import Params
from clawjax.protocols import GenerateRequest, TokenChunk
from clawjax.records import FinishReason

__all__ = ["Delivery", "Job", "Scheduler", "Weights"]

_WORD = 0xFFFFFFFF


class Weights(NamedTuple):
    """The policy in use."""

    params: Params
    version: int


@dataclass(slots=True, eq=False)
class Job:
    """A request on its way through the scheduler."""

    request: GenerateRequest
    limit: int
    """Reply tokens at most, the room in the context considered."""
    is_cancelled: bool = False
    """Set from any thread; honoured before the next step."""


class Delivery(NamedTuple):
    """A chunk for the asker of a job."""

    job: Job
    chunk: TokenChunk


@dataclass(slots=True, eq=False)
class _Reply:
    """A reply from its request to its end, in a slot or waiting for one."""

    job: Job
    prompt: np.ndarray
    text: ReplyText
    order: int
    """How many jobs were submitted before."""
    cached: int = 0
    """Prompt tokens that the cache held when it began."""
    drawn: list[int] = field(default_factory=list)
    """The reply's tokens so far."""
    slot: int = -1
    """Meaningful while it sits in one, as are the next three."""
    sequence: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int32))
    """What has to be read before the next token can be drawn."""
    prefilled: int = 0
    """How much of that is read."""
    is_mixed: bool = False
    """Whether the weights have changed since it was read."""

    @property
    def rank(self) -> tuple[int, int]:
        """Whose turn it is: the lowest comes first."""
        return self.job.request.priority, self.order

    @property
    def is_decoding(self) -> bool:
        """Whether everything is read."""
        return self.left == 0

    @property
    def left(self) -> int:
        """How much is not."""
        return len(self.sequence) - self.prefilled

    @property
    def tokens(self) -> np.ndarray:
        """Prompt and reply."""
        return np.concatenate([self.prompt, np.asarray(self.drawn, np.int32)])


class Scheduler:
    """Decides, step by step, what the decoder does."""

    def __init__(
        self,
        decoder: Decoder,
        weights: Weights,
        *,
        eos_ids: frozenset[int],
        new_text: Callable[[tuple[str, ...]], ReplyText],
    ) -> None:
        """Start with all slots free; `new_text` begins a reply with the given stop strings."""
        self.weights = weights
        self._decoder = decoder
        self._eos_ids = eos_ids
        self._new_text = new_text
        self._waiting: list[_Reply] = []
        self._submitted = 0
        self._slots: list[_Reply | None] = [None] * decoder.slots
        self._prefixes = PrefixTable(decoder.slots, decoder.kept)
        self._tokens = np.zeros(decoder.slots, np.int32)
        self._positions = np.zeros(decoder.slots, np.int32)
        self._rows = idle_rows(decoder.slots)

    @property
    def running(self) -> int:
        """How many slots are taken."""
        return sum(slot is not None for slot in self._slots)

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to do."""
        return not self._waiting and not self.running

    def adopt(self, weights: Weights) -> None:
        """Go on with other weights; a prompt that is half read is read again from its start.

        So a prompt's keys and values are of one version. Replies under way keep theirs: computing
        them again would stall every stream.
        """
        self.weights = weights
        self._prefixes.forget()
        for running in self._slots:
            if running is not None and running.is_decoding:
                running.is_mixed = True
            elif running is not None:
                running.prefilled = running.cached = 0

    def submit(self, job: Job) -> None:
        """Queue a job. The bound is the engine's: it refuses what exceeds `max_waiting`."""
        prompt = np.asarray(job.request.prompt_ids, np.int32)
        text = self._new_text(job.request.sampling.stop)
        bisect.insort(self._waiting, _Reply(job, prompt, text, self._submitted), key=_rank)
        self._submitted += 1

    def step(self) -> list[Delivery]:
        """Drop the cancelled, admit, run one prompt chunk and one decode step."""
        self._drop_cancelled()
        self._admit()
        return self._prefill() + self._decode()

    def cancel_all(self) -> list[Delivery]:
        """End every job with `cancelled`, showing the text that was still held back."""
        ended = [
            Delivery(running.job, _last_chunk(running.text.finish()))
            for running in self._slots
            if running is not None
        ]
        ended += [
            Delivery(waiting.job, _last_chunk(waiting.text.finish())) for waiting in self._waiting
        ]
        for delivery in ended:
            delivery.job.is_cancelled = True
        self._drop_cancelled()
        return ended

    def _drop_cancelled(self) -> None:
        for running in self._slots:
            if running is not None and running.job.is_cancelled:
                self._release(running)
        self._waiting = [waiting for waiting in self._waiting if not waiting.job.is_cancelled]

    def _admit(self) -> None:
        """Fill the slots; what waits takes the place of what is less urgent.

        Who loses a place waits with the reply so far, which is read again later, where the cache
        does not hold it still: no token is drawn twice and none is lost.
        """
        for slot, running in enumerate(self._slots):
            if running is None and self._waiting:
                self._seat(self._waiting.pop(0), slot)
        while self._waiting:
            last = max((running for running in self._slots if running is not None), key=_rank)
            if last.job.request.priority <= self._waiting[0].job.request.priority:
                return
            urgent = self._waiting.pop(0)
            self._release(last)
            bisect.insort(self._waiting, last, key=_rank)
            self._seat(urgent, last.slot)

    def _seat(self, reply: _Reply, slot: int) -> None:
        """Put a reply into a free slot, with what the cache holds of it."""
        reply.slot, reply.sequence, reply.is_mixed = slot, reply.tokens, False
        placement = self._prefixes.place(reply.sequence, slot)
        for copy in placement.copies:
            self._decoder.copy(*copy)
        reply.prefilled = self._positions[slot] = placement.held
        if not reply.drawn:
            reply.cached = placement.held
        self._slots[slot] = reply

    def _prefill(self) -> list[Delivery]:
        """One chunk of what is to be read: of the most urgent reply, or a little of several.

        Together where the most urgent one has so little left that it would not fill a chunk. While
        more replies are under way than wait to be read, these come first: a quarter, of one.
        """
        pending = sorted((r for r in self._slots if r and not r.is_decoding), key=_rank)
        if not pending:
            return []
        is_brief = len(pending) < self.running - len(pending)
        together = pending[: 1 if is_brief else self._decoder.together(pending[0].left)]
        reads = [Read(running.sequence, running.slot, running.prefilled) for running in together]
        rows = [_row(running.job.request, step=len(running.drawn)) for running in together]
        columns = SamplingRows(*map(np.concatenate, zip(*rows, strict=True)))
        done, drawn = self._decoder.prefill(self.weights.params, reads, columns, is_brief=is_brief)
        delivered = []
        for index, (running, held) in enumerate(zip(together, done, strict=False)):
            running.prefilled = self._positions[running.slot] = held
            self._prefixes.hold(running.slot, running.sequence[:held])
            if running.is_decoding and drawn is not None:
                for column, values in zip(self._rows, rows[index], strict=True):
                    column[running.slot] = values[0]
                delivered.append(self._take(running, drawn, index))
        return delivered

    def _decode(self) -> list[Delivery]:
        """The next token of every reply under way; several where nobody needs the host before."""
        active = [r for r in self._slots if r is not None and r.is_decoding]
        if not active:
            return []
        longest = max(int(self._positions[r.slot]) for r in active)
        steps = self._steps(active, longest)
        drawn = self._decoder.decode(
            self.weights.params,
            self._tokens,
            self._positions,
            self._rows,
            count=active[-1].slot + 1,
            live=longest + steps,
            steps=steps,
        )
        delivered = []
        for step in range(steps):
            now = Drawn(*(column[step] for column in drawn))
            for running in active:
                if self._slots[running.slot] is running:
                    self._positions[running.slot] += 1
                    delivered.append(self._take(running, now, running.slot))
        return delivered

    def _steps(self, active: Sequence[_Reply], longest: int) -> int:
        """How many tokens to draw before anything else is looked at."""
        burst = self._decoder.burst
        is_quiet = not self._waiting and len(active) == self.running
        has_room = all(r.job.limit - len(r.drawn) >= burst for r in active)
        return burst if is_quiet and has_room and longest + burst <= self._decoder.capacity else 1

    def _take(self, running: _Reply, drawn: Drawn[np.ndarray], row: int) -> Delivery:
        """Book a drawn token: it is fed in the next step unless it ends the reply."""
        token = int(drawn.token[row])
        running.drawn.append(token)
        self._tokens[running.slot] = token
        self._rows.step[running.slot] = len(running.drawn)
        text, finish_reason = self._read(running, token)
        if finish_reason is not None:
            self._release(running)
        wanted = running.job.request.top_logprobs
        chunk = TokenChunk(
            token_ids=(token,),
            sampler_logprobs=(float(drawn.logprob[row]),),
            sampler_logprobs_t1=(float(drawn.logprob_t1[row]),),
            versions=(self.weights.version,),
            text=text,
            finish_reason=finish_reason,
            top_logprobs=(_alternatives(drawn, row, wanted),) if wanted else (),
            cached_tokens=running.cached if len(running.drawn) == 1 else 0,
        )
        return Delivery(running.job, chunk)

    def _read(self, running: _Reply, token: int) -> tuple[str, FinishReason | None]:
        """The text that a token makes visible, and whether it ends the reply."""
        sampling = running.job.request.sampling
        is_end = token in self._eos_ids and not sampling.ignore_eos
        if is_end or token in sampling.stop_token_ids:
            return running.text.finish(), FinishReason.STOP
        text = running.text.push(token)
        if not running.text.is_stopped and len(running.drawn) == running.job.limit:
            text += running.text.finish()
            return text, FinishReason.STOP if running.text.is_stopped else FinishReason.LENGTH
        return text, FinishReason.STOP if running.text.is_stopped else None

    def _release(self, running: _Reply) -> None:
        slot = running.slot
        self._slots[slot] = None
        if not running.is_mixed:  # a reply by two versions is nobody's beginning
            self._prefixes.hold(slot, running.tokens[: self._positions[slot]])
        self._positions[slot] = self._prefixes.held(slot)
        for column, values in zip(self._rows, idle_rows(1), strict=True):
            column[slot] = values[0]


def _rank(reply: _Reply) -> tuple[int, int]:
    return reply.rank


def _row(request: GenerateRequest, *, step: int) -> SamplingRows[np.ndarray]:
    """A request's sampling parameters as host arrays of one row, at a token of the reply."""
    sampling = request.sampling
    return SamplingRows(
        temperature=np.asarray([sampling.temperature], np.float32),
        top_k=np.asarray([min(sampling.top_k, np.iinfo(np.int32).max)], np.int32),
        top_p=np.asarray([sampling.top_p], np.float32),
        min_p=np.asarray([sampling.min_p], np.float32),
        seed=np.asarray([[(request.seed >> 32) & _WORD, request.seed & _WORD]], np.uint32),
        step=np.asarray([step], np.int32),
        top_logprobs=np.asarray([request.top_logprobs], np.int32),
    )


def _alternatives(drawn: Drawn[np.ndarray], row: int, wanted: int) -> tuple[tuple[int, float], ...]:
    ids, logprobs = drawn.top_ids[row, :wanted], drawn.top_logprobs[row, :wanted]
    return tuple(zip(ids.tolist(), logprobs.tolist(), strict=True))


def _last_chunk(text: str) -> TokenChunk:
    return TokenChunk((), (), (), (), text=text, finish_reason=FinishReason.CANCELLED)
