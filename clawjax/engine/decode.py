"""The two programs that run on the device, compiled once per shape bucket.

Owns the KV cache (donated from call to call) and the set of compiled programs. Invariant: programs
are compiled ahead of time and called as such, so an unforeseen shape is an error and never a silent
recompilation. Only the engine's worker thread calls in here.
"""

from __future__ import annotations

import bisect
import itertools
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from clawjax.config import EngineConfig
from clawjax.engine.kv import Cache, decode_attend, new_cache, prefill_attend
from clawjax.engine.sampling import Drawn, SamplingRows, sample
from clawjax.models.architecture import Architecture
from clawjax.models.transformer import Params, Transformer

__all__ = ["Decoder", "Shape"]

logger = logging.getLogger(__name__)

COMPILE_THREADS = 2


class Shape(NamedTuple):
    """What a program is compiled for."""

    kind: str
    """`decode` or `prefill`."""
    size: int
    """Rows decoded together, or prompt tokens in a chunk."""
    live: int
    """Cache positions attended to."""


class Decoder:
    """Runs prompt chunks and decode steps over the slot cache."""

    def __init__(self, arch: Architecture, context_length: int, config: EngineConfig) -> None:
        """Allocate the cache; nothing is compiled yet."""
        self.context_length = context_length
        self.slots = config.slots
        self.live_buckets = _buckets(config.live_buckets, context_length)
        self.row_buckets = sorted({1, config.slots})
        self.chunk_sizes = _chunk_sizes(config.prefill_chunk)
        self.capacity = -(-context_length // config.prefill_chunk) * config.prefill_chunk
        self._model = Transformer(arch)
        self._arch = arch
        self._cache: Cache = new_cache(arch, slots=self.slots, capacity=self.capacity)
        self._programs: dict[Shape, Any] = {}

    @property
    def programs(self) -> int:
        """How many programs have been compiled so far."""
        return len(self._programs)

    def shapes(self) -> tuple[Shape, ...]:
        """Every shape this engine can need."""
        decode = itertools.product(["decode"], self.row_buckets, self.live_buckets)
        prefill = itertools.product(["prefill"], self.chunk_sizes, self.live_buckets)
        return tuple(itertools.starmap(Shape, itertools.chain(decode, prefill)))

    def warm_up(self, params: Params) -> None:
        """Compile every shape, a few at a time: the compiler runs outside the interpreter lock."""
        with ThreadPoolExecutor(COMPILE_THREADS, thread_name_prefix="compile") as pool:
            for _ in pool.map(lambda shape: self._program(shape, params), self.shapes()):
                pass

    def prefill_plan(self, start: int, total: int) -> int:
        """Size of the next chunk for a prompt of `total` tokens of which `start` are done."""
        small, large = self.chunk_sizes[0], self.chunk_sizes[-1]
        return large if total - start > large // 2 else small

    def prefill(
        self, params: Params, token_ids: np.ndarray, *, slot: int, start: int, rows: SamplingRows
    ) -> Drawn:
        """Process prompt tokens of one row and draw the token after the last of them.

        Args:
            params: the policy.
            token_ids: the chunk's real tokens, at most `prefill_plan` of them.
            slot: the row.
            start: position of the first token; a multiple of the chunk's size.
            rows: sampling parameters of the one row.

        Returns:
            Host arrays of one row; meaningless unless the chunk ends the prompt.
        """
        size = self.chunk_sizes[0] if len(token_ids) <= self.chunk_sizes[0] else self.chunk_sizes[-1]
        padded = np.zeros((1, size), np.int32)
        padded[0, : len(token_ids)] = token_ids
        where = np.asarray([slot, start, len(token_ids)], np.int32)
        shape = Shape("prefill", size, self._live(start + size))
        return self._run(shape, params, padded, where, rows)

    def decode(
        self, params: Params, tokens: np.ndarray, positions: np.ndarray, rows: SamplingRows,
        *, live: int,
    ) -> Drawn:
        """Feed one token to each of the first `R` rows and draw the next ones.

        Args:
            params: the policy.
            tokens: `[R]` int32, R one of `row_buckets`.
            positions: `[R]` int32, where the tokens go; idle rows name their next free position.
            rows: sampling parameters.
            live: tokens in the longest active row, the new one included.
        """
        shape = Shape("decode", len(tokens), self._live(live))
        return self._run(shape, params, tokens, positions, rows)

    def rows_for(self, count: int) -> int:
        """The smallest row bucket that covers the first `count` slots."""
        return self.row_buckets[bisect.bisect_left(self.row_buckets, count)]

    def _live(self, length: int) -> int:
        return self.live_buckets[bisect.bisect_left(self.live_buckets, length)]

    def _run(self, shape: Shape, params: Params, *arguments: Any) -> Drawn:
        self._cache, drawn = self._program(shape, params)(params, self._cache, *arguments)
        return jax.device_get(drawn)

    def _program(self, shape: Shape, params: Params) -> Any:
        program = self._programs.get(shape)
        if program is None:
            logger.debug("compiling %s", shape)
            program = self._lower(shape, params).compile()
            self._programs[shape] = program
        return program

    def _lower(self, shape: Shape, params: Params) -> Any:
        def decode(
            params: Params, cache: Cache, tokens: Array, positions: Array, rows: SamplingRows
        ) -> tuple[Cache, Drawn]:
            attend = decode_attend(positions, live=shape.live)
            return self._forward(
                params, cache, tokens[:, None], positions[:, None], attend, rows, jnp.int32(0)
            )

        def prefill(
            params: Params, cache: Cache, token_ids: Array, where: Array, rows: SamplingRows
        ) -> tuple[Cache, Drawn]:
            slot, start, count = where
            attend = prefill_attend(slot, start, shape.size, live=shape.live)
            positions = start + jnp.arange(shape.size, dtype=jnp.int32)[None]
            return self._forward(params, cache, token_ids, positions, attend, rows, count - 1)

        if shape.kind == "decode":
            jitted, arguments = jax.jit(decode, donate_argnums=1), _decode_example(shape.size)
        else:
            jitted, arguments = jax.jit(prefill, donate_argnums=1), _prefill_example(shape.size)
        return jitted.lower(params, self._cache, *arguments)

    def _forward(
        self, params: Params, cache: Cache, token_ids: Array, positions: Array, attend: Any,
        rows: SamplingRows, last: Array,
    ) -> tuple[Cache, Drawn]:
        hidden, cache = self._model.apply({"params": params}, token_ids, positions, attend, cache)
        hidden = jax.lax.dynamic_index_in_dim(hidden, last, axis=1, keepdims=False)
        logits = self._model.apply({"params": params}, hidden, method=Transformer.logits)
        return cache, sample(logits, rows)


def _buckets(configured: list[int], context_length: int) -> list[int]:
    return sorted({length for length in configured if length < context_length} | {context_length})


def _chunk_sizes(prefill_chunk: int) -> list[int]:
    """A quarter chunk beside the whole one, so that short prompts pay less padding."""
    small = prefill_chunk // 4
    return [small, prefill_chunk] if small * 4 == prefill_chunk and small >= 8 else [prefill_chunk]


def _example_rows(size: int) -> SamplingRows:
    def ints() -> np.ndarray:
        return np.zeros(size, np.int32)

    def floats() -> np.ndarray:
        return np.zeros(size, np.float32)

    seed = np.zeros((size, 2), np.uint32)
    return SamplingRows(floats(), ints(), floats(), floats(), seed, ints(), ints())


def _decode_example(size: int) -> tuple[np.ndarray, np.ndarray, SamplingRows]:
    return np.zeros(size, np.int32), np.zeros(size, np.int32), _example_rows(size)


def _prefill_example(size: int) -> tuple[np.ndarray, np.ndarray, SamplingRows]:
    return np.zeros((1, size), np.int32), np.zeros(3, np.int32), _example_rows(1)
