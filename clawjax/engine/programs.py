"""What is compiled: pure functions of parameters, cache and tokens, one per kind of `Shape`.

Invariant: every program writes a cache position before it attends to it, so what lies beyond a
row's tokens is never read. The cache comes first among the results, as it is donated.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from clawjax.engine import sampling
from clawjax.engine.kv import Cache, LayerCache, decode_attend, mixed_attend, prefill_attend
from clawjax.engine.sampling import Drawn, SamplingRows, Scored, sample
from clawjax.models.transformer import Attend, Params, Transformer

__all__ = ["Shape", "burst", "decode", "mixed", "prefill", "score"]

_SCORED_AT_ONCE = 128
"""Positions whose logits exist at one time: 25 MB at a vocabulary of 49,152."""


class Shape(NamedTuple):
    """What a program is compiled for."""

    kind: str
    """`decode`, `mixed`, `prefill`, `copy`, `sample`, `masked` or `score`."""
    rows: int
    """Rows that are computed together."""
    tokens: int = 1
    """Tokens that each of them reads or scores, or reply tokens that each of them draws."""
    live: int = 0
    """Cache positions attended to or copied."""


def decode(
    model: Transformer,
    shape: Shape,
    params: Params,
    cache: Cache,
    tokens: Array,
    positions: Array,
) -> tuple[Cache, Array]:
    """Logits `[R, V]` of what follows one token per row, fed at `positions [R]`."""
    attend = decode_attend(positions, live=shape.live, is_looped=shape.tokens > 1)
    cache, hidden = _hidden(model, params, cache, tokens[:, None], positions[:, None], attend)
    return cache, model.bind({"params": params}).logits(hidden[:, 0])


def burst(
    model: Transformer,
    shape: Shape,
    params: Params,
    cache: Cache,
    tokens: Array,
    positions: Array,
    rows: SamplingRows[Array],
) -> tuple[Cache, Drawn[Array]]:
    """Decode and sample `shape.tokens` times; what is drawn is fed at once."""

    def advance(
        carry: tuple[Cache, Array], step: Array
    ) -> tuple[tuple[Cache, Array], Drawn[Array]]:
        cache, tokens = carry
        cache, logits = decode(model, shape, params, cache, tokens, positions + step)
        drawn = sample(logits, rows._replace(step=rows.step + step))
        return (cache, drawn.token), drawn

    steps = jnp.arange(shape.tokens, dtype=jnp.int32)
    (cache, _), drawn = jax.lax.scan(advance, (cache, tokens), steps)
    return cache, drawn


def mixed(
    model: Transformer,
    shape: Shape,
    params: Params,
    cache: Cache,
    tokens: Array,
    positions: Array,
    token_ids: Array,
    where: Array,
) -> tuple[Cache, Array]:
    """`decode`, except that one row reads a chunk of its prompt: one pass over the weights for all.

    `token_ids [T]` are the chunk, `where [3]` its row, the position of its first token and its
    number of real tokens; in `tokens [R]` and `positions [R]` that row stands idle. Returns logits
    `[R, V]`, in that row of what follows the chunk.

    Reference: chunked prefills piggybacked on decodes, Agrawal et al. 2024, arXiv:2403.02310.
    """
    slot, start, count = where
    attend = mixed_attend(positions, slot, start, live=shape.live)
    read = start + jnp.arange(shape.tokens, dtype=jnp.int32)
    ids, places = jnp.concatenate([tokens, token_ids]), jnp.concatenate([positions, read])
    cache, hidden = _hidden(model, params, cache, ids[None], places[None], attend)
    rows = hidden[0, : shape.rows].at[slot].set(hidden[0, shape.rows + count - 1])
    return cache, model.bind({"params": params}).logits(rows)


def prefill(
    model: Transformer,
    shape: Shape,
    params: Params,
    cache: Cache,
    token_ids: Array,
    where: Array,
) -> tuple[Cache, Array]:
    """Logits `[R, V]` of what follows a chunk of each prompt.

    `where` is, for each row, slot, position of the first token, and number of real tokens.
    """
    slots, starts, counts = where
    cache, hidden = _read(model, shape, params, cache, token_ids, slots, starts)
    last = hidden[jnp.arange(shape.rows), counts - 1]
    return cache, model.bind({"params": params}).logits(last)


def score(
    model: Transformer,
    shape: Shape,
    params: Params,
    cache: Cache,
    token_ids: Array,
    where: Array,
    wants_top: Array,
) -> tuple[Cache, Scored[Array]]:
    """What the model thinks of the tokens that follow each of a chunk's, arrays `[T, ...]`.

    `token_ids [1, T + 1]` are the chunk and the token after it; `where [2]` is slot and position
    of the first.
    """
    slots, starts = where[:1], where[1:]
    cache, hidden = _read(model, shape, params, cache, token_ids[:, :-1], slots, starts)
    bound = model.bind({"params": params})
    size = math.gcd(shape.tokens, _SCORED_AT_ONCE)
    parts = hidden.reshape(-1, size, hidden.shape[-1]), token_ids[0, 1:].reshape(-1, size)
    scored = jax.lax.map(
        lambda part: sampling.score(bound.logits(part[0]), part[1], wants_top), parts
    )
    return cache, jax.tree.map(lambda column: column.reshape(-1, *column.shape[2:]), scored)


def _read(
    model: Transformer,
    shape: Shape,
    params: Params,
    cache: Cache,
    token_ids: Array,
    slots: Array,
    starts: Array,
) -> tuple[Cache, Array]:
    """The hidden states `[R, T, D]` of a chunk of each of `R` rows, which begin at `starts`."""
    attend = prefill_attend(slots, starts, shape.tokens, live=shape.live)
    positions = starts[:, None] + jnp.arange(shape.tokens, dtype=jnp.int32)
    return _hidden(model, params, cache, token_ids, positions, attend)


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

    x = bound.embed(token_ids)
    filled = []
    for index, kv in enumerate(cache):
        x, new = layer(params[f"layers_{index}"], x, kv)
        filled.append(new)
    return tuple(filled), bound.norm(x)
