"""Drawing tokens on the device, each row by its own parameters.

Owns what "the distribution sampled from" means: logits over the temperature, cut to the `top_k`
likeliest, then to the smallest set holding `top_p` of what is left, then to tokens at least
`min_p` times as likely as the likeliest; renormalised. Tokens tied with the last one kept are kept
too. Invariant: a row's draw depends on its own logits, parameters, seed and step, and on
nothing else in the batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax import Array
from numpy import ndarray

__all__ = ["MAX_TOP_LOGPROBS", "Drawn", "SamplingRows", "sample", "truncated"]

MAX_TOP_LOGPROBS = 20

A = TypeVar("A", Array, ndarray)
"""Device arrays within a program, host arrays outside."""


class SamplingRows(NamedTuple, Generic[A]):
    """Per-row parameters; arrays of `[R]` unless said."""

    temperature: A
    """0 draws the likeliest token."""
    top_k: A
    """int32; 0 is off."""
    top_p: A
    min_p: A
    seed: A
    """`[R, 2]` uint32: high and low word."""
    step: A
    """int32, of the token within the reply."""
    top_logprobs: A
    """int32, how many alternatives are wanted."""


class Drawn(NamedTuple, Generic[A]):
    """What was drawn; arrays of `[R]` unless said."""

    token: A
    logprob: A
    """Under the distribution sampled from; for temperature 0, at temperature 1."""
    logprob_t1: A
    """At temperature 1 without truncation."""
    top_ids: A
    """`[R, min(20, V)]`, likeliest first; zeros where no row wants them."""
    top_logprobs: A
    """Their log-probs at temperature 1."""


def sample(logits: Array, rows: SamplingRows[Array]) -> Drawn[Array]:
    """Draw one token per row of `logits [R, V]`."""
    plain = jax.nn.log_softmax(logits.astype(jnp.float32), axis=-1)
    is_greedy = rows.temperature <= 0
    likeliest = jnp.argmax(logits, axis=-1)  # not of the log-probs: those round to ties
    scaled = plain / jnp.where(is_greedy, 1.0, rows.temperature)[:, None]
    allowed = jax.lax.cond(
        jnp.any(_is_truncated(rows)), lambda: truncated(scaled, rows), lambda: scaled
    )
    tempered = jax.nn.log_softmax(allowed, axis=-1)
    token = jax.lax.cond(
        jnp.all(is_greedy),
        lambda: likeliest,
        lambda: jnp.where(is_greedy, likeliest, _draw(tempered, rows)),
    ).astype(jnp.int32)
    logprob_t1 = _pick(plain, token)
    logprob = jnp.where(is_greedy, logprob_t1, _pick(tempered, token))
    return Drawn(token, logprob, logprob_t1, *_alternatives(plain, rows))


def truncated(scaled: Array, rows: SamplingRows[Array]) -> Array:
    """`scaled [R, V]` log-probs (any normalisation) with -inf outside the truncation set."""
    vocab = scaled.shape[1]
    keys = _ordered(scaled)
    limit = jnp.where(rows.top_k > 0, jnp.minimum(rows.top_k, vocab), vocab)
    kept = keys >= _threshold(
        lambda bound: jnp.sum(keys >= bound, axis=-1) >= limit, scaled.shape[0]
    )
    weights = jax.nn.softmax(jnp.where(kept, scaled, -jnp.inf), axis=-1)
    nucleus = keys >= _threshold(
        lambda bound: jnp.sum(jnp.where(keys >= bound, weights, 0), axis=-1) >= rows.top_p,
        scaled.shape[0],
    )
    kept &= nucleus | (rows.top_p >= 1)[:, None]
    floor = jnp.max(scaled, axis=-1) + jnp.log(rows.min_p)
    kept &= scaled >= floor[:, None]
    return jnp.where(kept | ~_is_truncated(rows)[:, None], scaled, -jnp.inf)


def _is_truncated(rows: SamplingRows[Array]) -> Array:
    has_filter = (rows.top_k > 0) | (rows.top_p < 1) | (rows.min_p > 0)
    return has_filter & (rows.temperature > 0)


def _ordered(x: Array) -> Array:
    """int32 keys `[R, V]` that compare as the floats do, so that thresholds can be bisected."""
    bits = jax.lax.bitcast_convert_type(x, jnp.int32)
    return jnp.where(bits >= 0, bits, bits ^ jnp.int32(0x7FFFFFFF))


def _threshold(is_enough: Callable[[Array], Array], rows: int) -> Array:
    """The highest key bound `[R, 1]` at which enough is kept, by 32 bisections instead of a sort.

    Args:
        is_enough: bound `[R, 1]` to `[R]` bool; once False it stays False for higher bounds.
        rows: how many.
    """

    def halve(_: int, bounds: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bounds
        middle = (low | high) - ((low ^ high) >> 1)  # the upper mean, without overflow
        enough = is_enough(middle)[:, None]
        return jnp.where(enough, middle, low), jnp.where(enough, high, middle - 1)

    limits = jnp.iinfo(jnp.int32)
    low = jnp.full((rows, 1), limits.min, jnp.int32)
    high = jnp.full((rows, 1), limits.max, jnp.int32)
    return jax.lax.fori_loop(0, 32, halve, (low, high))[0]


def _draw(logprobs: Array, rows: SamplingRows[Array]) -> Array:
    """One Gumbel-max draw per row, keyed by the row's seed and step."""

    def one(words: Array, step: Array, row: Array) -> Array:
        key = jax.random.fold_in(jax.random.wrap_key_data(words, impl="threefry2x32"), step)
        return jax.random.categorical(key, row)

    return jax.vmap(one)(rows.seed, rows.step, logprobs)


def _pick(logprobs: Array, token: Array) -> Array:
    return jnp.take_along_axis(logprobs, token[:, None], axis=-1)[:, 0]


def _alternatives(plain: Array, rows: SamplingRows[Array]) -> tuple[Array, Array]:
    count = min(MAX_TOP_LOGPROBS, plain.shape[1])

    def likeliest() -> tuple[Array, Array]:
        values, ids = jax.lax.top_k(plain, count)
        return ids, values

    def nothing() -> tuple[Array, Array]:
        shape = (plain.shape[0], count)
        return jnp.zeros(shape, jnp.int32), jnp.zeros(shape, jnp.float32)

    return jax.lax.cond(jnp.any(rows.top_logprobs > 0), likeliest, nothing)
