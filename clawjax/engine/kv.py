"""The slot KV cache: one K and one V buffer per layer, and how a layer reads and writes them.

Owns the buffers' layout, `[rows, kv_heads, capacity, head_dim]`, and their number type: products
with them are in that type, sums in fp32. Invariant: for a row that holds
`n` tokens, positions below `n` are those tokens' keys and values. What lies beyond is garbage
that nobody reads: every program writes a position before it attends to it, and a query sees only
positions up to its own. So padding and idle rows may write at the row's next position freely. The
last token of a context is never fed, so `n` is below the capacity, and what is written past the end
may be dropped or land on the last position.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from clawjax.models.architecture import Architecture
from clawjax.models.transformer import Attend

__all__ = [
    "Cache",
    "LayerCache",
    "copied",
    "decode_attend",
    "mixed_attend",
    "new_cache",
    "prefill_attend",
]


class LayerCache(NamedTuple):
    """One layer's keys and values, each `[rows, kv_heads, capacity, head_dim]`."""

    k: Array
    v: Array


Cache = tuple[LayerCache, ...]
"""One `LayerCache` per layer."""

_MOST_AT_ONCE = 512
"""Positions that a chunk looks at together where how many there are is not compiled in."""


def new_cache(
    arch: Architecture, *, rows: int, capacity: int, dtype: DTypeLike = jnp.float32
) -> Cache:
    """Allocate buffers of zeros."""
    shape = (rows, arch.num_kv_heads, capacity, arch.head_dim)
    return tuple(
        LayerCache(jnp.zeros(shape, dtype), jnp.zeros(shape, dtype)) for _ in range(arch.num_layers)
    )


def copied(cache: Cache, where: Array, *, length: int) -> Cache:
    """The cache with the first `length` positions of row `where[0]` in row `where[1]` as well."""
    source, target = where

    def copy(buffer: Array) -> Array:
        size = (1, buffer.shape[1], length, buffer.shape[3])
        row = jax.lax.dynamic_slice(buffer, (source, 0, 0, 0), size)
        return jax.lax.dynamic_update_slice(buffer, row, (target, 0, 0, 0))

    return jax.tree.map(copy, cache)


def decode_attend(positions: Array, *, live: int, is_looped: bool = False) -> Attend:
    """Attention for one new token in each of the first `R` rows.

    Args:
        positions: `[R]` where each row's token goes; it sees itself and everything before.
        live: how many cache positions are looked at; above every active row's position.
        is_looped: whether the cache is carried through a loop on the device.
    """
    rows, mix = jnp.arange(positions.shape[0]), _decode_mix(positions, live=live)

    def attend(q: Array, k: Array, v: Array, cache: LayerCache) -> tuple[Array, Any]:
        put = _put_looped if is_looped else _put
        k, v = _stored(cache, k, v)
        cache = put(cache, k[:, 0], v[:, 0], rows, positions)
        return mix(q[:, 0], cache)[:, None], cache

    return attend


def prefill_attend(slots: Array, starts: Array, length: int, *, live: int) -> Attend:
    """Attention for `length` consecutive prompt tokens of each of `R` rows.

    Args:
        slots: `[R]`, which rows of the cache; one that comes twice reads the same tokens twice.
        starts: `[R]`, position of the first token; `start + length` never exceeds the capacity.
        length: tokens in a chunk, padding included.
        live: how many cache positions are looked at; at least `start + length`.
    """
    queries = starts[:, None] + jnp.arange(length)
    visible = jnp.arange(live) <= queries[:, :, None]

    def write(buffer: Array, values: Array) -> Array:
        for row in range(len(values)):  # one scatter would copy the buffer on a CPU
            where = (slots[row], 0, starts[row], 0)
            buffer = jax.lax.dynamic_update_slice(buffer, values[row : row + 1], where)
        return buffer

    def read(buffer: Array) -> Array:
        size = (1, buffer.shape[1], live, buffer.shape[3])
        parts = [jax.lax.dynamic_slice(buffer, (slot, 0, 0, 0), size) for slot in slots]
        return jnp.concatenate(parts)

    def attend(q: Array, k: Array, v: Array, cache: LayerCache) -> tuple[Array, Any]:
        k, v = _stored(cache, k, v)
        cache = LayerCache(write(cache.k, k.swapaxes(1, 2)), write(cache.v, v.swapaxes(1, 2)))
        return _mix(q, read(cache.k), read(cache.v), visible), cache

    return attend


def mixed_attend(positions: Array, slot: Array, start: Array, *, live: int) -> Attend:
    """Attention of `decode_attend` and, behind it in the same sequence, of one prompt's chunk.

    The queries are `[1, R + T, H, D]`: one token in each of the first `R` rows, then `T` prompt
    tokens of row `slot`. Where that is one of the `R`, what it decodes means nothing.

    Args:
        positions: `[R]` where each row's token goes.
        slot: scalar, the row that the chunk belongs to.
        start: scalar, position of its first token; `start + T` never exceeds the capacity.
        live: how many positions the `R` rows look at. The chunk looks at as many as it needs.
    """
    rows = positions.shape[0]
    mix = _decode_mix(positions, live=live)

    def attend(q: Array, k: Array, v: Array, cache: LayerCache) -> tuple[Array, Any]:
        # One scatter for both: XLA would copy the buffers between two writes.
        chunk = jnp.arange(q.shape[1] - rows)
        owners = jnp.concatenate([jnp.arange(rows), jnp.full_like(chunk, slot)])
        nowhere = cache.k.shape[2]
        places = jnp.concatenate([positions.at[slot].set(nowhere, mode="drop"), start + chunk])
        k, v = _stored(cache, k, v)
        cache = _put(cache, k[0], v[0], owners, places)
        one, many = mix(q[0, :rows], cache), _mix_in_blocks(q[0, rows:], cache, slot, start)
        return jnp.concatenate([one, many])[None], cache

    return attend


def _decode_mix(positions: Array, *, live: int) -> Callable[[Array, LayerCache], Array]:
    """Attention of one query per row, `q [R, H, D]`, over the first rows of the cache."""
    rows = positions.shape[0]
    visible = jnp.arange(live)[None, :] <= positions[:, None]
    return lambda q, cache: _mix_one(q, cache.k[:rows, :, :live], cache.v[:rows, :, :live], visible)


def _stored(cache: LayerCache, k: Array, v: Array) -> tuple[Array, Array]:
    """Keys and values as the cache has them."""
    return k.astype(cache.k.dtype), v.astype(cache.v.dtype)


def _product(formula: str, x: Array, cached: Array) -> Array:
    """`einsum` of numbers in fp32 and of cached ones, in the type of these; summed in fp32.

    XLA's CPU backend has no such products of fewer bits: there the cached ones are widened.
    """
    if cached.dtype == x.dtype:
        return jnp.einsum(formula, x, cached)

    def narrow(x: Array, cached: Array) -> Array:
        x = x.astype(cached.dtype)
        return jnp.einsum(formula, x, cached, preferred_element_type=jnp.float32)

    def wide(x: Array, cached: Array) -> Array:
        return jnp.einsum(formula, x, cached.astype(x.dtype))

    return jax.lax.platform_dependent(x, cached, cpu=wide, default=narrow)


def _put(cache: LayerCache, k: Array, v: Array, rows: Array, positions: Array) -> LayerCache:
    """The cache with `k, v [N, K, D]` at `positions [N]` of `rows [N]`, where there are such."""
    where = (rows, slice(None), positions)
    return LayerCache(cache.k.at[where].set(k, mode="drop"), cache.v.at[where].set(v, mode="drop"))


def _put_looped(cache: LayerCache, k: Array, v: Array, rows: Array, positions: Array) -> LayerCache:
    """`_put` for a cache that a loop carries.

    For a scatter in a loop a TPU would lay the cache out anew, and so hold and copy all of it
    twice; row by row it writes in place. A CPU is the other way round.
    """
    put = (cache, k, v, rows, positions)
    return jax.lax.platform_dependent(*put, tpu=_put_by_row, default=_put)


def _put_by_row(cache: LayerCache, k: Array, v: Array, rows: Array, positions: Array) -> LayerCache:
    """`_put`, but what would go past a row's end overwrites its last position."""

    def write(buffer: Array, values: Array) -> Array:
        for index in range(len(values)):
            where = (rows[index], 0, positions[index], 0)
            part = values[index][None, :, None]
            buffer = jax.lax.dynamic_update_slice(buffer, part, where)
        return buffer

    return LayerCache(write(cache.k, k), write(cache.v, v))


def _mix_in_blocks(q: Array, cache: LayerCache, slot: Array, start: Array) -> Array:
    """Causal attention of `q [T, H, D]`, from position `start` on, over a row of the cache.

    Softmax is summed up block by block (arXiv:1805.02867), so that one program serves any length.
    """
    length, heads, dim = q.shape
    _, kv_heads, capacity, _ = cache.k.shape
    block = math.gcd(capacity, _MOST_AT_ONCE)
    grouped = q.reshape(length, kv_heads, -1, dim).transpose(1, 2, 0, 3).reshape(kv_heads, -1, dim)
    queries = jnp.tile(start + jnp.arange(length), heads // kv_heads)

    # A loop that saw the cache itself would copy all of it, as it is donated.
    keys, values = (jax.lax.dynamic_index_in_dim(buffer, slot, keepdims=False) for buffer in cache)

    def add(index: Array, carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        highest, total, mixed = carry
        k, v = (
            jax.lax.dynamic_slice_in_dim(row, index * block, block, axis=1)
            for row in (keys, values)
        )
        scores = _product("kqd,ksd->kqs", grouped, k) * dim**-0.5
        is_visible = index * block + jnp.arange(block) <= queries[:, None]
        scores = jnp.where(is_visible, scores, jnp.finfo(jnp.float32).min)
        above = jnp.maximum(highest, scores.max(axis=-1))
        weights, shrunk = jnp.exp(scores - above[..., None]), jnp.exp(highest - above)
        mixed = mixed * shrunk[..., None] + _product("kqs,ksd->kqd", weights, v)
        return above, total * shrunk + weights.sum(axis=-1), mixed

    rows = grouped.shape[:2]
    nothing = jnp.full(rows, -jnp.inf), jnp.zeros(rows), jnp.zeros((*rows, dim))
    blocks = (start + length + block - 1) // block
    _, total, mixed = jax.lax.fori_loop(0, blocks, add, nothing)
    mixed = (mixed / total[..., None]).reshape(kv_heads, -1, length, dim)
    return mixed.transpose(2, 0, 1, 3).reshape(length, heads, dim)


def _mix(q: Array, k: Array, v: Array, mask: Array) -> Array:
    """Softmax attention of `q [B, T, H, D]` over `k, v [B, K, S, D]` where `mask [B, T, S]`."""
    batch, length, heads, dim = q.shape
    kv_heads = k.shape[1]
    grouped = q.reshape(batch, length, kv_heads, heads // kv_heads, dim)
    scores = _product("btkgd,bksd->bkgts", grouped, k) * dim**-0.5
    scores = jnp.where(mask[:, None, None], scores, jnp.finfo(jnp.float32).min)
    mixed = _product("bkgts,bksd->btkgd", jax.nn.softmax(scores, axis=-1), v)
    return mixed.reshape(batch, length, heads, dim)


def _mix_one(q: Array, k: Array, v: Array, mask: Array) -> Array:
    """`_mix` for one query per row, `q [R, H, D]`, `mask [R, S]`: a quarter faster without T."""
    rows, heads, dim = q.shape
    kv_heads = k.shape[1]
    grouped = q.reshape(rows, kv_heads, heads // kv_heads, dim)
    scores = _product("bkgd,bksd->bkgs", grouped, k) * dim**-0.5
    scores = jnp.where(mask[:, None, None], scores, jnp.finfo(jnp.float32).min)
    mixed = _product("bkgs,bksd->bkgd", jax.nn.softmax(scores, axis=-1), v)
    return mixed.reshape(rows, heads, dim)
