"""Runs the programs on the device, each compiled once per shape bucket.

Owns the KV cache (donated from call to call) and the compiled programs. Invariant: programs are
compiled ahead of time and called as such, so an unforeseen shape is an error and never a silent
recompilation. Only the engine's worker thread calls in here, except for `prepare`.
"""

from __future__ import annotations

import bisect
import functools
import itertools
import logging
import operator
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array

from clawjax.config import EngineConfig
from clawjax.engine.kv import Cache, copied, new_cache
from clawjax.engine.programs import Shape, burst, decode, mixed, prefill, score
from clawjax.engine.sampling import (
    Drawn,
    SamplingRows,
    Scored,
    idle_rows,
    no_mask,
    resized,
    sample,
)
from clawjax.models.architecture import Architecture
from clawjax.models.transformer import Params, Transformer

__all__ = ["Decoder", "Drawing", "Read", "Shape"]

logger = logging.getLogger(__name__)

_COMPILE_THREADS = 2
_SMALLEST_CHUNK = 8


class Read(NamedTuple):
    """A prompt that is to be read on."""

    prompt: np.ndarray
    """All of it, `[P]` int32."""
    slot: int
    """The row of the cache."""
    start: int
    """How many of its tokens the row holds already."""


class Drawing(NamedTuple):
    """Tokens that the device is about to draw."""

    drawn: Drawn[Array]
    """Arrays `[R]`, or `[steps, R]` of several steps in one call."""
    steps: int

    def wait(self) -> Drawn[np.ndarray]:
        """Host arrays `[steps, R]`."""
        drawn = jax.device_get(self.drawn)
        return Drawn(*(column[None] for column in drawn)) if self.steps == 1 else drawn


class Decoder:
    """Runs prompt chunks and decode steps over the slot cache."""

    def __init__(self, arch: Architecture, context_length: int, config: EngineConfig) -> None:
        """Allocate the cache; nothing is compiled yet."""
        self.slots = config.slots
        self.kept = config.cache_rows - config.slots
        self._live_buckets = sorted(
            {length for length in config.live_buckets if length < context_length} | {context_length}
        )
        self._row_buckets = _halvings(config.slots)
        self._chunk = min(config.prefill_chunk, context_length)
        self._small_chunk = self._chunk // 4 if self._chunk % 4 == 0 else self._chunk
        if self._small_chunk < _SMALLEST_CHUNK:
            self._small_chunk = self._chunk
        self.reads = self._chunk // self._small_chunk
        """Prompts that can be read together: what a step costs has one bound, many or one."""
        self._mixed_chunk = max(self._small_chunk // 2, min(_SMALLEST_CHUNK, self._small_chunk))
        self.burst = config.tokens_per_dispatch
        """Tokens that a row draws while the host does nothing, where it is asked to."""
        capacity = -(-context_length // self._chunk) * self._chunk
        self.capacity = self._live_buckets[-1] = capacity
        """Positions of a row."""
        self._model = Transformer(arch)
        self._cache: Cache = new_cache(
            arch, rows=config.cache_rows, capacity=capacity, dtype=config.cache_dtype
        )
        self._layout = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), self._cache)
        """What programs are compiled for: the cache itself changes hands with each call."""
        self._programs: dict[Shape, Any] = {}

    @property
    def vocab(self) -> int:
        """Width of the logits."""
        return self._model.arch.vocab_size

    @property
    def compiled(self) -> frozenset[Shape]:
        """The shapes compiled so far."""
        return frozenset(self._programs)

    def shapes(self) -> frozenset[Shape]:
        """Every shape that can be needed."""
        decode = itertools.product(
            ["decode"], self._row_buckets, {1, self.burst}, self._live_buckets
        )
        sizes = {(1, self._chunk), (1, self._small_chunk), (self.reads, self._small_chunk)}
        prefill = (
            ("prefill", *size, live)
            for size, live in itertools.product(sizes, self._live_buckets)
            if size[1] <= live
        )
        mixed = itertools.product(
            ["mixed"], self._mixed_rows, [self._mixed_chunk], self._live_buckets
        )
        copies = itertools.product(["copy"], [1], [1], self._live_buckets)
        samples = (("sample", rows) for rows in self._sampled_rows)
        return frozenset(itertools.starmap(Shape, [*decode, *mixed, *prefill, *copies, *samples]))

    def masked_shapes(self) -> frozenset[Shape]:
        """Those that only replies with a grammar need."""
        return frozenset(Shape("masked", rows) for rows in self._sampled_rows)

    def scoring_shapes(self) -> frozenset[Shape]:
        """Those that only who scores needs."""
        sizes = {self._chunk, self._small_chunk}
        return frozenset(
            Shape("score", 1, size, live)
            for size, live in itertools.product(sizes, self._live_buckets)
            if size <= live
        )

    def warm_up(self, params: Params) -> None:
        """Compile every shape but those for scoring and for grammars."""
        self.prepare(self.shapes(), params)

    def prepare(self, shapes: frozenset[Shape], params: Params) -> None:
        """Compile, a few at a time: the compiler runs outside the interpreter lock.

        May run beside serving, in another thread: it needs to know what the cache looks like only.
        """
        with ThreadPoolExecutor(_COMPILE_THREADS, thread_name_prefix="compile") as pool:
            for _ in pool.map(lambda shape: self._program(shape, params), sorted(shapes)):
                pass

    def together(self, left: int) -> int:
        """How many prompts to read at once while the most urgent one has `left` tokens to go.

        It is not to take longer for that: it reads alone what would fill a chunk.
        """
        return self.reads if left <= self._chunk // 2 else 1

    def prefill(
        self,
        params: Params,
        reads: Sequence[Read],
        rows: SamplingRows[np.ndarray],
        *,
        mask: np.ndarray | None = None,
    ) -> tuple[list[int], Drawn[np.ndarray] | None]:
        """Read the next chunk of some prompts; where that is the last, draw what comes next.

        A chunk that would not fit behind `start` begins before it: its tokens are read again.

        Args:
            params: the policy.
            reads: 1 to `self.reads` of them, in different rows.
            rows: sampling parameters of these.
            mask: what each of these may draw (`constraint.masks`); None allows everything.

        Returns:
            How many tokens of each prompt are read now; and what was drawn, host arrays of one row
            for each read and maybe more: it means something only where all of the prompt is read,
            and is None where none is.
        """
        total = [len(read.prompt) for read in reads]
        size = self._size(total[0] - reads[0].start, is_brief=len(reads) > 1)
        wanted = 1 if len(reads) == 1 else self.reads
        reads = [*reads, *[reads[0]] * (wanted - len(reads))]  # the same once more changes nothing
        starts = [min(read.start, self.capacity - size) for read in reads]
        tokens = [
            read.prompt[start : start + size] for read, start in zip(reads, starts, strict=True)
        ]
        padded = np.zeros((wanted, size), np.int32)
        for row, part in zip(padded, tokens, strict=True):
            row[: len(part)] = part
        counts = [len(part) for part in tokens]
        where = np.asarray([[read.slot for read in reads], starts, counts], np.int32)
        shape = Shape("prefill", wanted, size, self._live(max(starts) + size))
        logits = self._forward(shape, params, padded, where)
        done = list(map(operator.add, starts, counts))[: len(total)]
        is_any_read = any(map(operator.ge, done, total))
        return done, self._sample(logits, resized(rows, wanted), mask) if is_any_read else None

    def score(
        self, params: Params, read: Read, *, wants_top: bool, is_brief: bool = False
    ) -> tuple[int, Scored[np.ndarray]]:
        """Read the next chunk of a text and say what the model thinks of what follows each token.

        Args:
            params: the policy.
            read: a text of at least two tokens, of which the last is never read.
            wants_top: whether alternatives are asked for.
            is_brief: never read more than a quarter of a chunk.

        Returns:
            How many tokens are read now; and host arrays, one row for each token read by this
            call, about the token after it.
        """
        total = len(read.prompt) - 1
        size = self._size(total - read.start, is_brief=is_brief)
        start = min(read.start, self.capacity - size)
        part = read.prompt[start : start + size + 1]
        padded = np.zeros((1, size + 1), np.int32)
        padded[0, : len(part)] = part
        where = np.asarray([read.slot, start], np.int32)
        shape = Shape("score", 1, size, self._live(start + size))
        scored = jax.device_get(self._forward(shape, params, padded, where, np.bool_(wants_top)))
        done = start + len(part) - 1
        return done, Scored(*(column[read.start - start : done - start] for column in scored))

    def copy(self, source: int, target: int, length: int) -> None:
        """Give one row of the cache the first `length` positions of another, or some more."""
        program = self._program(Shape("copy", 1, live=self._live(length)), None)
        self._cache = program(self._cache, np.asarray([source, target], np.int32))

    def decode(
        self,
        params: Params,
        tokens: np.ndarray | Array,
        positions: np.ndarray,
        rows: SamplingRows[np.ndarray],
        *,
        count: int,
        live: int,
        steps: int = 1,
        mask: np.ndarray | None = None,
    ) -> Drawing:
        """Feed one token to each of the first `count` rows (or more) and draw the next ones.

        Returns at once. The tokens may be those of a step of as many rows that is still on its way.

        Args:
            params: the policy.
            tokens: `[slots]` int32 on the host, or what another step draws.
            positions: `[slots]` int32, where the tokens go; idle rows name their next position.
            rows: sampling parameters of all slots.
            count: rows that matter.
            live: tokens in the longest row that matters, the new ones included.
            steps: 1, or `self.burst`: tokens to draw one after the other.
            mask: what each slot may draw, in one step; None allows everything.
        """
        size = self._row_buckets[bisect.bisect_left(self._row_buckets, count)]
        shape = Shape("decode", size, steps, self._live(live))
        fed = tokens[:size].copy() if isinstance(tokens, np.ndarray) else tokens
        where, first = positions[:size].copy(), resized(rows, size)
        assert steps == 1 or mask is None, "what is allowed next depends on what is drawn"
        if steps == 1:
            return Drawing(self._draw(self._forward(shape, params, fed, where), first, mask), steps)
        return Drawing(self._forward(shape, params, fed, where, first), steps)

    def mixed(
        self,
        params: Params,
        tokens: np.ndarray,
        positions: np.ndarray,
        rows: SamplingRows[np.ndarray],
        read: Read,
        *,
        count: int,
        live: int,
        mask: np.ndarray | None = None,
    ) -> tuple[int, Drawn[np.ndarray]]:
        """A step of `decode` in which one row reads a little of its prompt instead.

        That costs hardly more than decoding: a step takes as long as reading the weights does.

        Args:
            params: the policy.
            tokens: `[slots]` int32.
            positions: `[slots]` int32; the row that reads names its next position.
            rows: sampling parameters of all slots, of the row that reads as well.
            read: the prompt of that row.
            count: rows that matter, the one that reads among them.
            live: tokens in the longest row that decodes, the new one included.
            mask: what each slot may draw; None allows everything.

        Returns:
            How many tokens of the prompt are read now; and arrays `[R]`, where what the row that
            reads has drawn means something only if that is all of it.
        """
        size = next(rows for rows in self._mixed_rows if rows >= count)
        start = min(read.start, self.capacity - self._mixed_chunk)
        part = read.prompt[start : start + self._mixed_chunk]
        padded = np.zeros(self._mixed_chunk, np.int32)
        padded[: len(part)] = part
        where = np.asarray([read.slot, start, len(part)], np.int32)
        shape = Shape("mixed", size, self._mixed_chunk, self._live(live))
        fed = tokens[:size].copy(), positions[:size].copy(), padded, where
        logits = self._forward(shape, params, *fed)
        return start + len(part), self._sample(logits, resized(rows, size), mask)

    def _size(self, left: int, *, is_brief: bool) -> int:
        """Tokens of a chunk while `left` are to be read."""
        return self._chunk if left > self._chunk // 2 and not is_brief else self._small_chunk

    def _live(self, length: int) -> int:
        return self._live_buckets[bisect.bisect_left(self._live_buckets, length)]

    def _forward(self, shape: Shape, params: Params, *arguments: Any) -> Any:
        """Logits `[R, V]`, or what a burst has drawn; left on the device."""
        self._cache, result = self._program(shape, params)(params, self._cache, *arguments)
        return result

    @property
    def _mixed_rows(self) -> list[int]:
        """Row counts where one reads while more decode: of three rows at least."""
        return [rows for rows in self._row_buckets if rows > 2]

    @property
    def _sampled_rows(self) -> set[int]:
        """How many rows a draw may have."""
        return {1, self.reads, *self._row_buckets}

    def _sample(
        self, logits: Array, rows: SamplingRows[np.ndarray], mask: np.ndarray | None
    ) -> Drawn[np.ndarray]:
        """Draw, and wait for it."""
        return jax.device_get(self._draw(logits, rows, mask))

    def _draw(
        self, logits: Array, rows: SamplingRows[np.ndarray], mask: np.ndarray | None
    ) -> Drawn[Array]:
        """Have it drawn."""
        count = len(logits)
        if mask is None:
            return self._program(Shape("sample", count), None)(logits, rows)
        whole = no_mask(count, self.vocab)
        whole[: len(mask)] = mask[:count]
        return self._program(Shape("masked", count), None)(logits, rows, whole)

    def _program(self, shape: Shape, params: Params | None) -> Any:
        program = self._programs.get(shape)
        if program is None:
            program = self._lower(shape, params).compile()
            logger.debug("compiled %s", shape)
            self._programs[shape] = program
        return program

    def _lower(self, shape: Shape, params: Params | None) -> Any:
        if shape.kind in ("sample", "masked"):
            size = (shape.rows, self.vocab)
            mask = (no_mask(*size),) if shape.kind == "masked" else ()
            logits = jax.ShapeDtypeStruct(size, np.float32)
            return jax.jit(sample).lower(logits, idle_rows(shape.rows), *mask)
        if shape.kind == "copy":
            program = functools.partial(copied, length=shape.live)
            return jax.jit(program, donate_argnums=0).lower(self._layout, np.zeros(2, np.int32))
        row = np.zeros(shape.rows, np.int32)
        if shape.kind == "prefill":
            examples = (np.zeros(shape[1:3], np.int32), np.zeros((3, shape.rows), np.int32))
            program = functools.partial(prefill, self._model, shape)
        elif shape.kind == "score":
            ids = np.zeros((1, shape.tokens + 1), np.int32)
            examples = (ids, np.zeros(2, np.int32), np.bool_(False))
            program = functools.partial(score, self._model, shape)
        elif shape.kind == "mixed":
            examples = (row, row, np.zeros(shape.tokens, np.int32), np.zeros(3, np.int32))
            program = functools.partial(mixed, self._model, shape)
        elif shape.tokens == 1:
            examples = (row, row)
            program = functools.partial(decode, self._model, shape)
        else:
            examples = (row, row, idle_rows(shape.rows))
            program = functools.partial(burst, self._model, shape)
        return jax.jit(program, donate_argnums=1).lower(params, self._layout, *examples)


def _halvings(slots: int) -> list[int]:
    """Row counts to compile for: one, all slots, and half of that again and again down to four."""
    half = -(-slots // 2)
    sizes = {1, half, slots}
    while half >= 8:
        half = -(-half // 2)
        sizes.add(half)
    return sorted(sizes)
