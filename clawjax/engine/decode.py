"""The programs that run on the device, compiled once per shape bucket: decode, prefill, sample.

Owns the KV cache (donated from call to call) and the compiled programs. Invariant: programs are
compiled ahead of time and called as such, so an unforeseen shape is an error and never a silent
recompilation. Only the engine's worker thread calls in here.
"""

from __future__ import annotations

import bisect
import functools
import itertools
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from clawjax.config import EngineConfig
from clawjax.engine.kv import (
    Cache,
    LayerCache,
    copied,
    decode_attend,
    new_cache,
    prefill_attend,
)
from clawjax.engine.sampling import Drawn, SamplingRows, sample
from clawjax.models.architecture import Architecture
from clawjax.models.transformer import Attend, Params, Transformer

__all__ = ["Decoder", "Shape", "idle_rows"]

logger = logging.getLogger(__name__)

_COMPILE_THREADS = 2
_SMALLEST_CHUNK = 8


class Shape(NamedTuple):
    """What a program is compiled for."""

    kind: str
    """`decode`, `prefill`, `copy` or `sample`."""
    size: int
    """Rows decoded, copied or sampled together, or prompt tokens in a chunk."""
    live: int = 0
    """Cache positions attended to or copied."""


class Decoder:
    """Runs prompt chunks and decode steps over the slot cache."""

    def __init__(self, arch: Architecture, context_length: int, config: EngineConfig) -> None:
        """Allocate the cache; nothing is compiled yet."""
        self.slots = config.slots
        self.kept = config.kept_prefixes
        self._live_buckets = sorted(
            {length for length in config.live_buckets if length < context_length} | {context_length}
        )
        self._row_buckets = sorted({1, -(-config.slots // 2), config.slots})
        self._chunk = min(config.prefill_chunk, context_length)
        self._small_chunk = self._chunk // 4 if self._chunk % 4 == 0 else self._chunk
        if self._small_chunk < _SMALLEST_CHUNK:
            self._small_chunk = self._chunk
        capacity = -(-context_length // self._chunk) * self._chunk
        self._live_buckets[-1] = capacity
        self._model = Transformer(arch)
        rows = config.slots + config.kept_prefixes
        self._cache: Cache = new_cache(arch, rows=rows, capacity=capacity)
        self._programs: dict[Shape, Any] = {}

    @property
    def compiled(self) -> frozenset[Shape]:
        """The shapes compiled so far."""
        return frozenset(self._programs)

    def shapes(self) -> frozenset[Shape]:
        """Every shape that can be needed."""
        decode = itertools.product(["decode"], self._row_buckets, self._live_buckets)
        sizes = [self._chunk, self._small_chunk]
        prefill = itertools.product(["prefill"], sizes, self._live_buckets)
        chunks = (shape for shape in prefill if shape[1] <= shape[2])
        copies = itertools.product(["copy"], [1], self._live_buckets)
        samples = (("sample", size, 0) for size in {1, *self._row_buckets})
        return frozenset(itertools.starmap(Shape, [*decode, *chunks, *copies, *samples]))

    def warm_up(self, params: Params) -> None:
        """Compile every shape, a few at a time: the compiler runs outside the interpreter lock."""
        with ThreadPoolExecutor(_COMPILE_THREADS, thread_name_prefix="compile") as pool:
            for _ in pool.map(lambda shape: self._program(shape, params), sorted(self.shapes())):
                pass

    def prefill(
        self,
        params: Params,
        prompt: np.ndarray,
        *,
        slot: int,
        start: int,
        rows: SamplingRows[np.ndarray],
    ) -> tuple[int, Drawn[np.ndarray] | None]:
        """Process the next chunk of a prompt; after the last one draw the reply's first token.

        A chunk that would not fit behind `start` begins before it: its tokens are read again.

        Args:
            params: the policy.
            prompt: the whole prompt, `[P]` int32.
            slot: the row.
            start: how many prompt tokens the row holds already.
            rows: sampling parameters of this one row.

        Returns:
            How many prompt tokens are done now, and when that is all of them what was drawn:
            host arrays of one row.
        """
        size = self._chunk if len(prompt) - start > self._chunk // 2 else self._small_chunk
        start = min(start, self._live_buckets[-1] - size)
        tokens = prompt[start : start + size]
        padded = np.zeros((1, size), np.int32)
        padded[0, : len(tokens)] = tokens
        where = np.asarray([slot, start, len(tokens)], np.int32)
        shape = Shape("prefill", size, self._live(start + size))
        logits = self._forward(shape, params, padded, where)
        done = start + len(tokens)
        return done, self._sample(logits, rows) if done == len(prompt) else None

    def copy(self, source: int, target: int, length: int) -> None:
        """Give one row of the cache the first `length` positions of another, or some more."""
        program = self._program(Shape("copy", 1, self._live(length)), None)
        self._cache = program(self._cache, np.asarray([source, target], np.int32))

    def decode(
        self,
        params: Params,
        tokens: np.ndarray,
        positions: np.ndarray,
        rows: SamplingRows[np.ndarray],
        *,
        count: int,
        live: int,
    ) -> Drawn[np.ndarray]:
        """Feed one token to each of the first `count` rows (or more) and draw the next ones.

        Args:
            params: the policy.
            tokens: `[slots]` int32.
            positions: `[slots]` int32, where the tokens go; idle rows name their next position.
            rows: sampling parameters of all slots.
            count: rows that matter.
            live: tokens in the longest row that matters, the new one included.
        """
        size = self._row_buckets[bisect.bisect_left(self._row_buckets, count)]
        first = SamplingRows(*(column[:size].copy() for column in rows))
        shape = Shape("decode", size, self._live(live))
        return self._sample(
            self._forward(shape, params, tokens[:size].copy(), positions[:size].copy()), first
        )

    def _live(self, length: int) -> int:
        return self._live_buckets[bisect.bisect_left(self._live_buckets, length)]

    def _forward(self, shape: Shape, params: Params, *arguments: np.ndarray) -> Array:
        """Logits `[R, V]`, left on the device."""
        self._cache, logits = self._program(shape, params)(params, self._cache, *arguments)
        return logits

    def _sample(self, logits: Array, rows: SamplingRows[np.ndarray]) -> Drawn[np.ndarray]:
        """Draw, and wait for it: the one transfer from the device per step."""
        return jax.device_get(self._program(Shape("sample", len(logits)), None)(logits, rows))

    def _program(self, shape: Shape, params: Params | None) -> Any:
        program = self._programs.get(shape)
        if program is None:
            program = self._lower(shape, params).compile()
            logger.debug("compiled %s", shape)
            self._programs[shape] = program
        return program

    def _lower(self, shape: Shape, params: Params | None) -> Any:
        if shape.kind == "sample":
            size = (shape.size, self._model.arch.vocab_size)
            logits = jax.ShapeDtypeStruct(size, np.float32)
            return jax.jit(sample).lower(logits, idle_rows(shape.size))
        if shape.kind == "copy":
            program = functools.partial(copied, length=shape.live)
            return jax.jit(program, donate_argnums=0).lower(self._cache, np.zeros(2, np.int32))
        if shape.kind == "decode":
            examples = (np.zeros(shape.size, np.int32), np.zeros(shape.size, np.int32))
            program = functools.partial(_decode, self._model, shape)
        else:
            examples = (np.zeros((1, shape.size), np.int32), np.zeros(3, np.int32))
            program = functools.partial(_prefill, self._model, shape)
        return jax.jit(program, donate_argnums=1).lower(params, self._cache, *examples)


def _decode(
    model: Transformer,
    shape: Shape,
    params: Params,
    cache: Cache,
    tokens: Array,
    positions: Array,
) -> tuple[Cache, Array]:
    attend = decode_attend(positions, live=shape.live)
    cache, hidden = _hidden(model, params, cache, tokens[:, None], positions[:, None], attend)
    return cache, model.bind({"params": params}).logits(hidden[:, 0])


def _prefill(
    model: Transformer,
    shape: Shape,
    params: Params,
    cache: Cache,
    token_ids: Array,
    where: Array,
) -> tuple[Cache, Array]:
    """`where` is slot, position of the first token, and the number of real tokens."""
    slot, start, count = where
    attend = prefill_attend(slot, start, shape.size, live=shape.live)
    positions = start + jnp.arange(shape.size, dtype=jnp.int32)[None]
    cache, hidden = _hidden(model, params, cache, token_ids, positions, attend)
    last = jax.lax.dynamic_index_in_dim(hidden, count - 1, axis=1, keepdims=False)
    return cache, model.bind({"params": params}).logits(last)


def _hidden(
    model: Transformer,
    params: Params,
    cache: Cache,
    token_ids: Array,
    positions: Array,
    attend: Attend,
) -> tuple[Cache, Array]:
    """Hidden states `[B, T, D]` and the filled cache.

    The same as calling the `Transformer`, except that the layer is traced once instead of once
    per layer: with a warm compilation cache, start-up is mostly tracing. XLA inlines the calls.
    """
    bound = model.bind({"params": params})
    block, _ = bound.layers[0].unbind()

    @jax.jit
    def layer(weights: Params, x: Array, kv: LayerCache) -> tuple[Array, LayerCache]:
        return block.bind({"params": weights})(x, positions, attend, kv)

    x = bound.embed_tokens(token_ids)
    filled = []
    for index, kv in enumerate(cache):
        x, new = layer(params[f"layers_{index}"], x, kv)
        filled.append(new)
    return tuple(filled), bound.norm(x)


def idle_rows(count: int) -> SamplingRows[np.ndarray]:
    """Sampling parameters, as host arrays, that cost the least: greedy and untruncated."""
    return SamplingRows(
        temperature=np.zeros(count, np.float32),
        top_k=np.zeros(count, np.int32),
        top_p=np.ones(count, np.float32),
        min_p=np.zeros(count, np.float32),
        seed=np.zeros((count, 2), np.uint32),
        step=np.zeros(count, np.int32),
        top_logprobs=np.zeros(count, np.int32),
    )
