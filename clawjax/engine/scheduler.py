"""Continuous batching: who sits in which slot, and what runs next.

Owns the slots and every reply under way. Invariants: of what is equally urgent, first come is first
served; what is more urgent takes a slot from what is less, which goes on later where it was;
between two decode steps at most one prompt chunk runs, and while most replies are being written a
small one within each step, so a long prompt cannot stall the others; a slot is free again in the
step in which its request ends or is found cancelled; prompt tokens are never cut. While nothing
else is to be done the device has a step ahead: it decodes on while the host looks at what it drew,
and what it draws for a reply that has ended by then is nobody's. Lives in the worker thread; knows
neither asyncio nor threads.
"""

from __future__ import annotations

import bisect
import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from clawjax.engine.constraint import Constraint, masks
from clawjax.engine.decode import Decoder
from clawjax.engine.flight import Flight
from clawjax.engine.prefixes import PrefixTable
from clawjax.engine.replies import Delivery, Job, RunningReply, last_chunk, rank_of
from clawjax.engine.sampling import Drawn, SamplingRows, idle_rows
from clawjax.engine.text import ReplyText
from clawjax.models.transformer import Params
from clawjax.protocols import GenerateRequest

__all__ = ["Scheduler", "Weights"]

logger = logging.getLogger(__name__)


class Weights(NamedTuple):
    """The policy in use."""

    params: Params
    version: int


class Scheduler:
    """Decides, step by step, what the decoder does."""

    def __init__(
        self,
        decoder: Decoder,
        weights: Weights,
        *,
        eos_ids: frozenset[int],
        new_text: Callable[[tuple[str, ...], bool], ReplyText],
        reuse_prefixes: bool = True,
    ) -> None:
        """Start with all slots free.

        Args:
            decoder: draws; nobody else may use it.
            weights: the policy.
            eos_ids: tokens that end a reply.
            new_text: begins a reply's text: stop strings, `GenerateRequest.goes_on`.
            reuse_prefixes: whether a prompt is read only from where it is new.
        """
        self.weights = weights
        self.prompt_tokens = 0
        """Of the replies that have begun."""
        self.cached_tokens = 0
        """Of those, tokens that the cache held."""
        self._decoder = decoder
        self._eos_ids = eos_ids
        self._new_text = new_text
        self._waiting: list[RunningReply] = []
        self._submitted = 0
        self._slots: list[RunningReply | None] = [None] * decoder.slots
        self._prefixes = PrefixTable(decoder.slots, decoder.kept, is_reusing=reuse_prefixes)
        self._tokens = np.zeros(decoder.slots, np.int32)
        self._positions = np.zeros(decoder.slots, np.int32)
        self._rows = idle_rows(decoder.slots)
        self._flight: Flight | None = None

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

        So a prompt's keys and values are of one version, and so are the log-probs of a text that
        is scored. Replies under way keep theirs: computing them again would stall every stream.
        """
        self.weights = weights
        self._prefixes.forget()
        for waiting in self._waiting:
            waiting.start_at(0)
        for running in self._slots:
            if running is not None and running.is_decoding:
                running.is_mixed = True
            elif running is not None:
                running.start_at(0)
                running.cached = self._positions[running.slot] = 0

    def submit(self, job: Job) -> None:
        """Queue a job. The bound is the engine's: it refuses what exceeds `max_waiting`."""
        prompt = np.asarray(job.request.prompt_ids, np.int32)
        request = job.request
        is_drawn = isinstance(request, GenerateRequest)
        asked = (request.sampling.stop, request.goes_on) if is_drawn else ((), False)
        text = self._new_text(*asked)
        bisect.insort(self._waiting, RunningReply(job, prompt, text, self._submitted), key=rank_of)
        self._submitted += 1

    def step(self) -> list[Delivery]:
        """Drop the cancelled, admit, run one prompt chunk and one decode step.

        While more replies are being written than wait to be read, these come first: they go on as
        if alone while one prompt is read along, a little in each step. Not where so many short
        prompts wait that a chunk reads them together: then all are written sooner.
        """
        self._drop_cancelled()
        self._admit()
        if self._flight is not None:
            return self._decode()
        pending = sorted((r for r in self._slots if r and not r.is_decoding), key=rank_of)
        is_brief = len(pending) < self.running - len(pending)
        if pending and is_brief and not self._is_read_together(pending):
            return self._decode_and_read(pending[0])
        return self._prefill(pending, is_brief=is_brief) + self._decode()

    def _is_read_together(self, pending: Sequence[RunningReply]) -> bool:
        """Whether as many wait as one chunk can read, or somebody has a text to be scored."""
        together = self._decoder.together(pending[0].left)
        return pending[0].is_scoring or 1 < together <= len(pending)

    def retract_all(self) -> None:
        """Send everybody back to the queue with what they have; they are read again later."""
        for running in self._slots:
            if running is not None:
                self._release(running)
                bisect.insort(self._waiting, running, key=rank_of)

    def flush(self) -> bool:
        """Forget what the cache holds; False, and nothing happens, while it is in use."""
        if self.running:
            return False
        self._prefixes.forget()
        return True

    def cancel_all(self) -> list[Delivery]:
        """End every job with `cancelled`, showing the text that was still held back."""
        ended = [
            Delivery(running.job, last_chunk(running.text.finish()))
            for running in self._slots
            if running is not None
        ]
        ended += [
            Delivery(waiting.job, last_chunk(waiting.text.finish())) for waiting in self._waiting
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
            last = max((running for running in self._slots if running is not None), key=rank_of)
            if last.job.request.priority <= self._waiting[0].job.request.priority:
                return
            urgent = self._waiting.pop(0)
            self._release(last)
            bisect.insort(self._waiting, last, key=rank_of)
            self._seat(urgent, last.slot)

    def _seat(self, reply: RunningReply, slot: int) -> None:
        """Put a reply into a free slot, with what the cache holds of it."""
        reply.slot, reply.sequence, reply.is_mixed = slot, reply.tokens, False
        placement = self._prefixes.place(reply.known, slot, reply.job.request.cache_scope)
        for copy in placement.copies:
            self._decoder.copy(*copy)
        self._positions[slot] = placement.held
        reply.start_at(placement.held)
        if not reply.drawn:
            reply.cached = placement.held
        self._slots[slot] = reply

    def _prefill(self, pending: Sequence[RunningReply], *, is_brief: bool) -> list[Delivery]:
        """One chunk of what is to be read or scored: of the most urgent, or a little of several.

        Together where the most urgent one has so little left that it would not fill a chunk.
        """
        if not pending:
            return []
        if pending[0].is_scoring:
            return self._score(pending[0], is_brief=is_brief)
        pending = [running for running in pending if not running.is_scoring]
        together = pending[: self._decoder.together(pending[0].left)]
        reads = [running.read for running in together]
        rows = [running.sampling_row() for running in together]
        columns = SamplingRows(*map(np.concatenate, zip(*rows, strict=True)))
        done, drawn = self._decoder.prefill(
            self.weights.params,
            reads,
            columns,
            mask=masks([running.job.constraint for running in together], self._decoder.vocab),
        )
        delivered = []
        for index, (running, held) in enumerate(zip(together, done, strict=False)):
            self._book_read(running, held)
            if running.is_decoding and drawn is not None:
                self._set_row(running)
                delivered.append(self._take(running, drawn, index, self.weights.version))
        return delivered

    def _decode_and_read(self, reading: RunningReply) -> list[Delivery]:
        """The next token of every reply under way, and a little of a prompt in the same step."""
        active = [r for r in self._slots if r is not None and r.is_decoding]
        self._set_row(reading)
        held, drawn = self._decoder.mixed(
            self.weights.params,
            self._tokens,
            self._positions,
            self._rows,
            reading.read,
            count=max(active[-1].slot, reading.slot) + 1,
            live=max(int(self._positions[r.slot]) for r in active) + 1,
            mask=self._mask([*active, reading]),
        )
        delivered = []
        for running in active:
            self._positions[running.slot] += 1
            delivered.append(self._take(running, drawn, running.slot, self.weights.version))
        self._book_read(reading, held)
        if reading.is_decoding:
            delivered.append(self._take(reading, drawn, reading.slot, self.weights.version))
        return delivered

    def _book_read(self, running: RunningReply, held: int) -> None:
        """Note how much of a prompt the cache holds now."""
        running.prefilled = self._positions[running.slot] = held
        self._prefixes.hold(running.slot, running.sequence[:held])

    def _set_row(self, running: RunningReply) -> None:
        """Its slot draws as its request wants."""
        for column, values in zip(self._rows, running.sampling_row(), strict=True):
            column[running.slot] = values[0]

    def _score(self, running: RunningReply, *, is_brief: bool) -> list[Delivery]:
        """Read one chunk, and see how likely what follows each of its tokens was."""
        held, scored = self._decoder.score(
            self.weights.params,
            running.read,
            wants_top=running.job.top_logprobs > 0,
            is_brief=is_brief,
        )
        running.book_scores(scored)
        self._book_read(running, held)
        if running.left:
            return []
        self._release(running)
        return [Delivery(running.job, running.scores(self.weights.version))]

    def _decode(self) -> list[Delivery]:
        """The next token of every reply under way; several where nobody needs the host before."""
        flight = self._flight or self._launch()
        if flight is None:
            return []
        self._flight = self._launch_behind(flight)
        drawn = flight.drawing.wait()
        delivered = []
        for step in range(flight.drawing.steps):
            now = Drawn(*(column[step] for column in drawn))
            for running in tuple(flight.replies):
                if self._slots[running.slot] is running:
                    self._positions[running.slot] += 1
                    delivered.append(self._take(running, now, running.slot, flight.version))
        return delivered

    def _launch(self) -> Flight | None:
        """A step of all replies under way; None without any."""
        active = [r for r in self._slots if r is not None and r.is_decoding]
        if not active:
            return None
        longest = max(int(self._positions[r.slot]) for r in active)
        steps = self._steps(active, longest)
        drawing = self._decoder.decode(
            self.weights.params,
            self._tokens,
            self._positions,
            self._rows,
            count=active[-1].slot + 1,
            live=longest + steps,
            steps=steps,
            mask=self._mask(active),
        )
        return Flight(active, drawing, self.weights.version)

    def _launch_behind(self, flight: Flight) -> Flight | None:
        """The next step of the same replies, fed with what only the device knows yet."""
        replies, drawn = flight.replies, flight.drawing.drawn
        longest = max(int(self._positions[r.slot]) for r in replies) + 1
        is_wanted = self._decoder.burst == 1 and self._is_quiet(replies)
        if not (is_wanted and flight.has_room and longest < self._decoder.capacity):
            return None
        ahead = np.zeros_like(self._positions)
        ahead[[r.slot for r in replies]] = 1
        drawing = self._decoder.decode(
            self.weights.params,
            drawn.token,
            self._positions + ahead,
            self._rows._replace(step=self._rows.step + ahead),
            count=len(drawn.token),
            live=longest + 1,
        )
        return Flight(list(replies), drawing, self.weights.version)

    def _mask(self, drawing: Sequence[RunningReply]) -> np.ndarray | None:
        """What each slot may draw in a decode step."""
        constraints: list[Constraint | None] = [None] * len(self._slots)
        for running in drawing:
            constraints[running.slot] = running.job.constraint
        return masks(constraints, self._decoder.vocab)

    def _steps(self, active: Sequence[RunningReply], longest: int) -> int:
        """How many tokens to draw before anything else is looked at."""
        burst = self._decoder.burst
        has_room = all(r.job.limit - len(r.drawn) >= burst for r in active)
        fits = longest + burst <= self._decoder.capacity
        return burst if self._is_quiet(active) and has_room and fits else 1

    def _is_quiet(self, active: Sequence[RunningReply]) -> bool:
        """Whether there is nothing to do but to draw for these, and nothing to allow in between."""
        is_alone = not self._waiting and len(active) == self.running
        return is_alone and all(r.job.constraint is None for r in active)

    def _take(
        self, running: RunningReply, drawn: Drawn[np.ndarray], row: int, version: int
    ) -> Delivery:
        """Book a token drawn by `version`: it is fed in the next step unless it ends the reply."""
        token = int(drawn.token[row])
        constraint = running.job.constraint
        if constraint is not None:
            if constraint.trouble is not None:
                return self._give_up(running, constraint.trouble)
            constraint.take(token)
        text, finish_reason = running.take(token, self._eos_ids)
        self._tokens[running.slot] = token
        self._rows.step[running.slot] = running.position
        if finish_reason is not None:
            self._release(running)
        if len(running.drawn) == 1:
            self.prompt_tokens += len(running.prompt)
            self.cached_tokens += running.cached
        chunk = running.chunk(drawn, row, version=version, text=text, finish_reason=finish_reason)
        return Delivery(running.job, chunk)

    def _give_up(self, running: RunningReply, trouble: str) -> Delivery:
        """End a reply whose grammar no longer tells what may come, as cancelled."""
        name = running.job.request.request_id
        logger.warning("reply %s is ended, its grammar has failed: %s", name, trouble)
        self._release(running)
        return Delivery(running.job, last_chunk(running.text.finish()))

    def _release(self, running: RunningReply) -> None:
        slot = running.slot
        self._slots[slot] = None
        if self._flight is not None and not self._flight.without(running):
            self._flight = None
        if not running.is_mixed:  # a reply by two versions is nobody's beginning
            self._prefixes.hold(slot, running.tokens[: self._positions[slot]])
        self._positions[slot] = self._prefixes.held(slot)
        for column, values in zip(self._rows, idle_rows(1), strict=True):
            column[slot] = values[0]
