"""Continuous batching: who sits in which slot, and what runs next.

Owns the slots and every running reply. Invariants: requests are admitted first come, first served;
between two decode steps at most one prompt chunk runs, so a long prompt cannot stall the others; a
slot is free again in the step in which its request ends or is found cancelled; prompt tokens are
never cut. Lives in the worker thread; knows neither asyncio nor threads.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from clawjax.engine.decode import Decoder, idle_rows
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
class _Running:
    job: Job
    slot: int
    prompt: np.ndarray
    text: ReplyText
    admitted: int
    """How many jobs were admitted before."""
    prefilled: int
    replied: int = 0
    reply: list[int] = field(default_factory=list)
    is_mixed: bool = False
    """Whether the weights changed after the prompt was read."""

    @property
    def is_decoding(self) -> bool:
        return self.prefilled == len(self.prompt)

    def tokens(self, count: int) -> np.ndarray:
        """The first `count` of prompt and reply."""
        return np.concatenate([self.prompt, np.asarray(self.reply, np.int32)])[:count]


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
        self._waiting: deque[Job] = deque()
        self._admitted = 0
        self._slots: list[_Running | None] = [None] * decoder.slots
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
                running.prefilled = 0

    def submit(self, job: Job) -> None:
        """Queue a job. The bound is the engine's: it refuses what exceeds `max_waiting`."""
        self._waiting.append(job)

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
        ended += [Delivery(job, _last_chunk("")) for job in self._waiting]
        for delivery in ended:
            delivery.job.is_cancelled = True
        self._drop_cancelled()
        return ended

    def _drop_cancelled(self) -> None:
        for running in self._slots:
            if running is not None and running.job.is_cancelled:
                self._release(running)
        if any(job.is_cancelled for job in self._waiting):
            self._waiting = deque(job for job in self._waiting if not job.is_cancelled)

    def _admit(self) -> None:
        for slot, running in enumerate(self._slots):
            if running is None and self._waiting:
                job = self._waiting.popleft()
                prompt = np.asarray(job.request.prompt_ids, np.int32)
                text = self._new_text(job.request.sampling.stop)
                held = self._place(prompt, slot)
                self._slots[slot] = _Running(job, slot, prompt, text, self._admitted, held)
                self._admitted += 1

    def _place(self, prompt: np.ndarray, slot: int) -> int:
        """How much of a prompt its slot holds, after fetching what other rows hold of it."""
        placement = self._prefixes.place(prompt, slot)
        for copy in placement.copies:
            self._decoder.copy(*copy)
        self._positions[slot] = placement.held
        return placement.held

    def _prefill(self) -> list[Delivery]:
        """One chunk of the prompt that has waited longest."""
        pending = [r for r in self._slots if r is not None and not r.is_decoding]
        if not pending:
            return []
        running = min(pending, key=lambda r: r.admitted)
        rows = _row(running.job.request)
        running.prefilled, drawn = self._decoder.prefill(
            self.weights.params,
            running.prompt,
            slot=running.slot,
            start=running.prefilled,
            rows=rows,
        )
        self._positions[running.slot] = running.prefilled
        self._prefixes.hold(running.slot, running.prompt[: running.prefilled])
        if drawn is None:
            return []
        for column, values in zip(self._rows, rows, strict=True):
            column[running.slot] = values[0]
        return [self._take(running, drawn, 0)]

    def _decode(self) -> list[Delivery]:
        """One token for every reply under way."""
        active = [r for r in self._slots if r is not None and r.is_decoding]
        if not active:
            return []
        drawn = self._decoder.decode(
            self.weights.params,
            self._tokens,
            self._positions,
            self._rows,
            count=active[-1].slot + 1,
            live=max(int(self._positions[r.slot]) for r in active) + 1,
        )
        for running in active:
            self._positions[running.slot] += 1
        return [self._take(running, drawn, running.slot) for running in active]

    def _take(self, running: _Running, drawn: Drawn[np.ndarray], row: int) -> Delivery:
        """Book a drawn token: it is fed in the next step unless it ends the reply."""
        token = int(drawn.token[row])
        running.replied += 1
        running.reply.append(token)
        self._tokens[running.slot] = token
        self._rows.step[running.slot] = running.replied
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
        )
        return Delivery(running.job, chunk)

    def _read(self, running: _Running, token: int) -> tuple[str, FinishReason | None]:
        """The text that a token makes visible, and whether it ends the reply."""
        sampling = running.job.request.sampling
        is_end = token in self._eos_ids and not sampling.ignore_eos
        if is_end or token in sampling.stop_token_ids:
            return running.text.finish(), FinishReason.STOP
        text = running.text.push(token)
        if not running.text.is_stopped and running.replied == running.job.limit:
            text += running.text.finish()
            return text, FinishReason.STOP if running.text.is_stopped else FinishReason.LENGTH
        return text, FinishReason.STOP if running.text.is_stopped else None

    def _release(self, running: _Running) -> None:
        slot = running.slot
        self._slots[slot] = None
        if not running.is_mixed:  # a reply by two versions is nobody's beginning
            self._prefixes.hold(slot, running.tokens(int(self._positions[slot])))
        self._positions[slot] = self._prefixes.held(slot)
        for column, values in zip(self._rows, idle_rows(1), strict=True):
            column[slot] = values[0]


def _row(request: GenerateRequest) -> SamplingRows[np.ndarray]:
    """A request's sampling parameters as host arrays of one row."""
    sampling = request.sampling
    return SamplingRows(
        temperature=np.asarray([sampling.temperature], np.float32),
        top_k=np.asarray([min(sampling.top_k, np.iinfo(np.int32).max)], np.int32),
        top_p=np.asarray([sampling.top_p], np.float32),
        min_p=np.asarray([sampling.min_p], np.float32),
        seed=np.asarray([[(request.seed >> 32) & _WORD, request.seed & _WORD]], np.uint32),
        step=np.zeros(1, np.int32),
        top_logprobs=np.asarray([request.top_logprobs], np.int32),
    )


def _alternatives(drawn: Drawn[np.ndarray], row: int, wanted: int) -> tuple[tuple[int, float], ...]:
    ids, logprobs = drawn.top_ids[row, :wanted], drawn.top_logprobs[row, :wanted]
    return tuple(zip(ids.tolist(), logprobs.tolist(), strict=True))


def _last_chunk(text: str) -> TokenChunk:
    return TokenChunk((), (), (), (), text=text, finish_reason=FinishReason.CANCELLED)
