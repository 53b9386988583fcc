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

__all__ = ["CHUNK", "Head", "TokenScores", "response_scores"]

CHUNK = 128
"""Positions whose logits exist at one time: 25 MB at a vocabulary of 49,152."""

Head = Callable[[Any, Array], Array]
"""`(head parameters, hidden [N, D]) -> logits [N, V]`."""


class TokenScores(NamedTuple):
    """Of each response token, `[B, T]` at the token's own index; 0 elsewhere."""

    logprobs: Array
    entropy: Array
    """Of the distribution the token was drawn from, in nats; carries no gradient."""


def response_scores(
    head: Head,
    head_params: Any,
    hidden: Array,
    token_ids: Array,
    response_mask: Array,
    temperature: Array,
    *,
    is_head_trained: bool,
) -> TokenScores:
    """`log softmax(logits / temperature)` of the tokens under `response_mask`.

    Args:
        head: maps hidden states to logits.
        head_params: what `head` reads.
        hidden: `[B, T, D]`, after the final norm.
        token_ids: `[B, T]`.
        response_mask: `[B, T]` bool; the first token of a row has no predecessor and must be
            False.
        temperature: `[B, T]`, at the token's own index.
        is_head_trained: whether `head_params` receive a gradient.
    """
    batch, length, width = hidden.shape
    size = -(-batch * length // CHUNK) * CHUNK
    count = jnp.sum(response_mask)
    outside = batch * length
    targets_at = jnp.flatnonzero(response_mask, size=size, fill_value=outside)
    clipped_at = jnp.minimum(targets_at, outside - 1)
    predictors_at = jnp.maximum(clipped_at - 1, 0)  # the shift
    scores = _chunked_scores(
        head,
        is_head_trained,
        head_params,
        hidden.reshape(outside, width)[predictors_at],
        token_ids.reshape(-1)[clipped_at],
        temperature.reshape(-1)[clipped_at],
        count,
    )
    logprobs, entropy = cast(tuple[Array, Array], scores)

    def spread(values: Array) -> Array:
        flat = jnp.zeros(outside, values.dtype).at[targets_at].set(values, mode="drop")
        return flat.reshape(batch, length)

    return TokenScores(spread(logprobs), jax.lax.stop_gradient(spread(entropy)))


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _chunked_scores(
    head: Head,
    is_head_trained: bool,
    head_params: Any,
    hidden: Array,
    targets: Array,
    temperature: Array,
    count: Array,
) -> tuple[Array, Array]:
    """Log-probs and entropies `[N]` of the first `count` positions, 0 for the rest."""
    (logprobs, entropy), _ = _forward(
        head, is_head_trained, head_params, hidden, targets, temperature, count
    )
    return logprobs, entropy


def _forward(
    head: Head,
    is_head_trained: bool,
    head_params: Any,
    hidden: Array,
    targets: Array,
    temperature: Array,
    count: Array,
) -> tuple[tuple[Array, Array], Any]:
    def score(index: Array, carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        take = partial(_chunk, start=index * CHUNK)
        logits = head(head_params, take(hidden)) / take(temperature)[:, None]
        log_total = jax.nn.logsumexp(logits, axis=-1)
        picked = jnp.take_along_axis(logits, take(targets)[:, None], axis=-1)[:, 0]
        mean_logit = jnp.sum(jnp.exp(logits - log_total[:, None]) * logits, axis=-1)
        parts = (picked - log_total, log_total - mean_logit, log_total)
        starts = (index * CHUNK,)
        logprobs, entropy, log_totals = (
            jax.lax.dynamic_update_slice(whole, part, starts)
            for whole, part in zip(carry, parts, strict=True)
        )
        return logprobs, entropy, log_totals

    zeros = jnp.zeros(hidden.shape[0], jnp.float32)
    chunks = _chunks(count)
    logprobs, entropy, log_totals = jax.lax.fori_loop(0, chunks, score, (zeros, zeros, zeros))
    is_counted = jnp.arange(hidden.shape[0]) < count
    scores = (jnp.where(is_counted, logprobs, 0.0), jnp.where(is_counted, entropy, 0.0))
    return scores, (head_params, hidden, targets, temperature, count, log_totals)


def _backward(
    head: Head, is_head_trained: bool, kept: Any, cotangents: tuple[Array, Array]
) -> tuple[Any, Array, None, None, None]:
    """`d logp / d logits = (onehot - p) / temperature`, chunk by chunk."""
    head_params, hidden, targets, temperature, count, log_totals = kept
    is_counted = jnp.arange(hidden.shape[0]) < count
    slopes = jnp.where(is_counted, cotangents[0], 0.0) / temperature

    def pull(index: Array, carry: tuple[Array, Any]) -> tuple[Array, Any]:
        d_hidden, d_head = carry
        take = partial(_chunk, start=index * CHUNK)
        if is_head_trained:
            logits, pullback = jax.vjp(head, head_params, take(hidden))
        else:
            logits, pullback = jax.vjp(partial(head, head_params), take(hidden))
        scaled = logits / take(temperature)[:, None]
        p = jnp.exp(scaled - take(log_totals)[:, None])
        onehot = jnp.arange(logits.shape[-1]) == take(targets)[:, None]
        *head_part, hidden_part = pullback((onehot - p) * take(slopes)[:, None])
        if is_head_trained:
            d_head = jax.tree.map(jnp.add, d_head, head_part[0])
        return jax.lax.dynamic_update_slice(d_hidden, hidden_part, (index * CHUNK, 0)), d_head

    d_head = jax.tree.map(jnp.zeros_like, head_params) if is_head_trained else None
    d_hidden, d_head = jax.lax.fori_loop(0, _chunks(count), pull, (jnp.zeros_like(hidden), d_head))
    return d_head, d_hidden, None, None, None


_chunked_scores.defvjp(_forward, _backward)


def _chunks(count: Array) -> Array:
    return (count + CHUNK - 1) // CHUNK


def _chunk(whole: Array, *, start: Array) -> Array:
    return jax.lax.dynamic_slice_in_dim(whole, start, CHUNK)
