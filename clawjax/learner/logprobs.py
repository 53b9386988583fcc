"""Log-probabilities of response tokens, without ever holding `[B, T, V]` logits.

Owns the token shift: that the hidden state at t scores token t + 1 is said here and nowhere else.
Only response tokens meet the output head, in chunks whose logits are computed again for the
gradient; the number of chunks follows the data, not the compiled shape.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
from jax import Array

__all__ = [
    "CHUNK",
    "Head",
    "Likeliest",
    "TokenScores",
    "chunks_of",
    "likeliest_tokens",
    "response_scores",
]

CHUNK = 128
"""Positions whose logits exist at one time: 25 MB at a vocabulary of 49,152."""

Head = Callable[[Any, Array], Array]
"""`(head parameters, hidden [N, D]) -> logits [N, V]`."""


class TokenScores(NamedTuple):
    """Of each response token, at the token's own index; 0 elsewhere."""

    logprobs: Array
    """`[B, T]`."""
    entropy: Array
    """`[B, T]`, of the distribution the token was drawn from, in nats."""
    support_logprobs: Array
    """`[B, T, K]`, of the tokens that were asked for besides."""


class Likeliest(NamedTuple):
    """The `K` likeliest tokens in the place of each response token, likeliest first."""

    ids: Array
    """`[B, T, K]` int32."""
    logprobs: Array
    """`[B, T, K]`."""


def chunks_of(response_mask: Array) -> Array:
    """How many chunks the tokens under a mask `[B, T]` take."""
    return (jnp.sum(response_mask) + CHUNK - 1) // CHUNK


def response_scores(
    head: Head,
    head_params: Any,
    hidden: Array,
    token_ids: Array,
    response_mask: Array,
    temperature: Array,
    support_ids: Array | None = None,
    *,
    is_head_trained: bool,
    chunks: Array | None = None,
) -> TokenScores:
    """`log softmax(logits / temperature)` of the tokens under `response_mask`.

    Args:
        head: maps hidden states to logits.
        head_params: what `head` reads.
        hidden: `[B, T, D]`, after the final norm.
        token_ids: `[B, T]`.
        response_mask: `[B, T]` bool; the first token of a sequence has no predecessor and must be
            False.
        temperature: `[B, T]`, at the token's own index.
        support_ids: `[B, T, K]`, further tokens to score in the place of each; none by default.
        is_head_trained: whether `head_params` receive a gradient.
        chunks: how many to compute, at least `chunks_of(response_mask)`; that many by default.
    """
    if support_ids is None:
        support_ids = jnp.zeros((*token_ids.shape, 0), jnp.int32)
    at = _Places.of(response_mask)
    wanted = jnp.concatenate([token_ids[..., None], support_ids], axis=-1)
    scores = _chunked_scores(
        head,
        is_head_trained,
        head_params,
        at.predicting(hidden),
        at.own(wanted),
        at.own(temperature),
        at.total,
        chunks_of(response_mask) if chunks is None else chunks,
    )
    logprobs, entropy = cast(tuple[Array, Array], scores)
    spread = at.spread(logprobs)
    return TokenScores(spread[..., 0], at.spread(entropy), spread[..., 1:])


def likeliest_tokens(
    head: Head,
    head_params: Any,
    hidden: Array,
    response_mask: Array,
    temperature: Array,
    *,
    k: int,
    chunks: Array | None = None,
) -> Likeliest:
    """The `k` likeliest tokens at each place; arguments as for `response_scores`. No gradient."""
    at = _Places.of(response_mask)
    states, temperatures = at.predicting(hidden), at.own(temperature)

    def find(index: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        take = partial(_chunk, start=index * CHUNK)
        logits = head(head_params, take(states)) / take(temperatures)[:, None]
        values, ids = jax.lax.top_k(jax.nn.log_softmax(logits, axis=-1), k)
        return _put(carry[0], ids.astype(jnp.int32), index), _put(carry[1], values, index)

    size = states.shape[0]
    empty = (jnp.zeros((size, k), jnp.int32), jnp.zeros((size, k), jnp.float32))
    chunks = chunks_of(response_mask) if chunks is None else chunks
    ids, logprobs = jax.lax.fori_loop(0, chunks, find, empty)
    return Likeliest(at.spread(ids), at.spread(logprobs))


class _Places(NamedTuple):
    """Where the response tokens are, in the order of the flattened `[B, T]`, padded to chunks."""

    flat: Array
    """`[N]` int32; beyond the last token, an index outside of `[B, T]`."""
    total: Array
    """How many there are."""
    shape: tuple[int, int]

    @classmethod
    def of(cls, response_mask: Array) -> _Places:
        batch, length = response_mask.shape
        size = -(-batch * length // CHUNK) * CHUNK
        flat = jnp.flatnonzero(response_mask, size=size, fill_value=batch * length)
        return cls(flat, jnp.sum(response_mask), (batch, length))

    def own(self, values: Array) -> Array:
        """`[N, ...]` of `[B, T, ...]`, at the tokens' own indices."""
        return self._flattened(values)[self._inside]

    def predicting(self, values: Array) -> Array:
        """The same at the indices before: the shift."""
        return self._flattened(values)[jnp.maximum(self._inside - 1, 0)]

    def spread(self, values: Array) -> Array:
        """Undo `own`; 0 where there is no response token."""
        batch, length = self.shape
        empty = jnp.zeros((batch * length, *values.shape[1:]), values.dtype)
        filled = empty.at[self.flat].set(values, mode="drop")
        return filled.reshape(batch, length, *values.shape[1:])

    @property
    def _inside(self) -> Array:
        return jnp.minimum(self.flat, self.shape[0] * self.shape[1] - 1)

    def _flattened(self, values: Array) -> Array:
        return values.reshape(self.shape[0] * self.shape[1], *values.shape[2:])


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _chunked_scores(
    head: Head,
    is_head_trained: bool,
    head_params: Any,
    hidden: Array,
    wanted: Array,
    temperature: Array,
    count: Array,
    chunks: Array,
) -> tuple[Array, Array]:
    """Log-probs `[N, W]` of `wanted` and entropies `[N]` of the first `count` places, else 0."""
    (logprobs, entropy), _ = _forward(
        head, is_head_trained, head_params, hidden, wanted, temperature, count, chunks
    )
    return logprobs, entropy


def _forward(
    head: Head,
    is_head_trained: bool,
    head_params: Any,
    hidden: Array,
    wanted: Array,
    temperature: Array,
    count: Array,
    chunks: Array,
) -> tuple[tuple[Array, Array], Any]:
    def score(index: Array, carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        take = partial(_chunk, start=index * CHUNK)
        logits = head(head_params, take(hidden)) / take(temperature)[:, None]
        log_total = jax.nn.logsumexp(logits, axis=-1)
        picked = jnp.take_along_axis(logits, take(wanted), axis=-1)
        mean_logit = jnp.sum(jnp.exp(logits - log_total[:, None]) * logits, axis=-1)
        parts = (picked - log_total[:, None], log_total - mean_logit, log_total)
        logprobs, entropy, log_totals = (
            _put(whole, part, index) for whole, part in zip(carry, parts, strict=True)
        )
        return logprobs, entropy, log_totals

    size = hidden.shape[0]
    zeros = jnp.zeros(size, jnp.float32)
    empty = (jnp.zeros(wanted.shape, jnp.float32), zeros, zeros)
    logprobs, entropy, log_totals = jax.lax.fori_loop(0, chunks, score, empty)
    is_counted = jnp.arange(size) < count
    scores = (
        jnp.where(is_counted[:, None], logprobs, 0.0),
        jnp.where(is_counted, entropy, 0.0),
    )
    return scores, (head_params, hidden, wanted, temperature, count, chunks, log_totals)


def _backward(
    head: Head, is_head_trained: bool, kept: Any, cotangents: tuple[Array, Array]
) -> tuple[Any, Array, None, None, None, None]:
    """In chunks; with `z` for logits over temperature.

    `d (sum_w c_w logp_w) / dz = sum_w c_w (onehot_w - p)`, `dH / dz = -p (log p + H)`.
    """
    head_params, hidden, wanted, temperature, count, chunks, log_totals = kept
    is_counted = jnp.arange(hidden.shape[0]) < count
    slopes = jnp.where(is_counted[:, None], cotangents[0], 0.0) / temperature[:, None]
    entropy_slopes = jnp.where(is_counted, cotangents[1], 0.0) / temperature

    def pull(index: Array, carry: tuple[Array, Any]) -> tuple[Array, Any]:
        d_hidden, d_head = carry
        take = partial(_chunk, start=index * CHUNK)
        if is_head_trained:
            logits, pullback = jax.vjp(head, head_params, take(hidden))
        else:
            logits, pullback = jax.vjp(partial(head, head_params), take(hidden))
        scaled = logits / take(temperature)[:, None]
        log_p = scaled - take(log_totals)[:, None]
        p = jnp.exp(log_p)
        entropy = -jnp.sum(p * log_p, axis=-1, keepdims=True)
        slope, entropy_slope = take(slopes), take(entropy_slopes)[:, None]
        d_logits = -p * (slope.sum(axis=-1, keepdims=True) + entropy_slope * (log_p + entropy))
        d_logits = d_logits.at[jnp.arange(CHUNK)[:, None], take(wanted)].add(slope)
        *head_part, hidden_part = pullback(d_logits)
        if is_head_trained:
            d_head = jax.tree.map(jnp.add, d_head, head_part[0])
        return _put(d_hidden, hidden_part, index), d_head

    d_head = jax.tree.map(jnp.zeros_like, head_params) if is_head_trained else None
    d_hidden, d_head = jax.lax.fori_loop(0, chunks, pull, (jnp.zeros_like(hidden), d_head))
    return d_head, d_hidden, None, None, None, None


_chunked_scores.defvjp(_forward, _backward)


def _chunk(whole: Array, *, start: Array) -> Array:
    return jax.lax.dynamic_slice_in_dim(whole, start, CHUNK)


def _put(whole: Array, chunk: Array, index: Array) -> Array:
    return jax.lax.dynamic_update_slice_in_dim(whole, chunk, index * CHUNK, axis=0)
