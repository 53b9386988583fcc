"""Drawing tokens on the device, each row by its own parameters.

Owns what "the distribution sampled from" means: logits of the tokens that the row's grammar
allows, over the temperature, cut to the `top_k` likeliest, then to the smallest set holding `top_p`
of what is left, then to tokens at least `min_p` times as likely as the likeliest; renormalised.
Tokens tied with the last one kept are kept too. Invariant: a row's draw depends on its own logits,
parameters, grammar, seed and step, and on nothing else in the batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy import ndarray

from clawjax.engine.requests import MAX_TOP_LOGPROBS

__all__ = [
    "MAX_TOP_LOGPROBS",
    "Drawn",
    "SamplingRows",
    "Scored",
    "idle_rows",
    "invert",
    "no_mask",
    "resized",
    "sample",
    "score",
    "truncated",
]

_LANES = 256

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
    """int32."""
    logprob: A
    """Under the distribution sampled from; for temperature 0, at temperature 1 of what the grammar
    allows."""
    logprob_t1: A
    """At temperature 1, nothing cut off: neither by a filter nor by a grammar."""
    top_ids: A
    """`[R, min(20, V)]`, likeliest first; zeros where no row wants them."""
    top_logprobs: A
    """Of the same shape: their log-probs at temperature 1."""


class Scored(NamedTuple, Generic[A]):
    """What the model thinks of given tokens, at temperature 1."""

    logprob: A
    """`[N]`, of each token."""
    top_ids: A
    """`[N, min(20, V)]`, what is likeliest in its place; zeros where nobody wants to know."""
    top_logprobs: A
    """Of the same shape: their log-probs."""


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


def resized(rows: SamplingRows[np.ndarray], count: int) -> SamplingRows[np.ndarray]:
    """The first `count` rows; where there are fewer, idle ones follow."""
    missing = max(0, count - len(rows.step))
    return SamplingRows(
        *(
            np.concatenate([column[:count], idle[:missing]])
            for column, idle in zip(rows, idle_rows(missing), strict=True)
        )
    )


def score(logits: Array, tokens: Array, wants_top: Array) -> Scored[Array]:
    """Log-probs of `tokens [N]` under `logits [N, V]`; alternatives where `wants_top []`."""
    logits = logits.astype(jnp.float32)
    total = _Mass.of(logits).log_total
    return Scored(_pick(logits, tokens) - total, *_alternatives(logits, total, wants_top))


def no_mask(rows: int, vocab: int) -> ndarray:
    """Masks `[R, ceil(V / 32)]` int32 that allow everything: bit `i mod 32` of word `i / 32`."""
    return np.full((rows, -(-vocab // 32)), -1, np.int32)


def sample(logits: Array, rows: SamplingRows[Array], mask: Array | None = None) -> Drawn[Array]:
    """Draw one token per row of `logits [R, V]`, among those that `mask` allows (`no_mask`)."""
    logits = logits.astype(jnp.float32)
    possible = logits if mask is None else _masked(logits, mask)
    is_greedy = rows.temperature <= 0
    scaled = possible / jnp.where(is_greedy, 1.0, rows.temperature)[:, None]
    allowed = jax.lax.cond(
        jnp.any(_is_truncated(rows)), lambda: truncated(scaled, rows), lambda: scaled
    )
    mass = _Mass.of(allowed)
    token = jax.lax.cond(
        jnp.all(is_greedy), lambda: jnp.zeros_like(rows.step), lambda: _draw(allowed, mass, rows)
    )
    token = jax.lax.cond(
        jnp.any(is_greedy), lambda: jnp.where(is_greedy, _likeliest(possible), token), lambda: token
    )
    is_plain = jnp.all(is_greedy | ((rows.temperature == 1) & ~_is_truncated(rows)))
    is_plain &= mask is None
    total_t1 = jax.lax.cond(is_plain, lambda: mass.log_total, lambda: _Mass.of(logits).log_total)
    logprob_t1 = _pick(logits, token) - total_t1
    logprob = _pick(allowed, token) - mass.log_total
    top = _alternatives(logits, total_t1, jnp.any(rows.top_logprobs > 0))
    return Drawn(token, logprob, logprob_t1, *top)


def truncated(scaled: Array, rows: SamplingRows[Array]) -> Array:
    """`scaled [R, V]`, log-probs of any normalisation, with -inf outside the truncation set."""
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


def _masked(logits: Array, mask: Array) -> Array:
    """`logits [R, V]` with -inf where the bit of `mask [R, ceil(V / 32)]` is 0."""
    bits = (mask[:, :, None] >> jnp.arange(32, dtype=jnp.int32)) & 1
    is_allowed = bits.reshape(len(mask), -1)[:, : logits.shape[1]] != 0
    return jnp.where(is_allowed, logits, -jnp.inf)


def _is_truncated(rows: SamplingRows[Array]) -> Array:
    """`[R]` bool: whether a filter cuts the row's distribution; greedy rows know none."""
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


class _Mass(NamedTuple):
    """The unnormalised probability of `[R, V]` scores, in `_LANES` lanes: token i is in i mod that.

    Summing by lane is summing whole vectors, and a draw is one among the lanes, then one among the
    tokens of that lane: neither makes a random number for, or a running sum over, all of V.
    """

    peak: Array
    """`[R]`, the highest score."""
    lanes: Array
    """`[R, _LANES]`, sums of `exp(score - peak)`."""

    @classmethod
    def of(cls, scores: Array) -> _Mass:
        """That of `scores [R, V]`; tokens at -inf have none."""
        grid = _grid(scores)
        peak = jnp.max(jnp.max(grid, axis=1), axis=-1)
        return cls(peak, jnp.sum(jnp.exp(grid - peak[:, None, None]), axis=1))

    @property
    def log_total(self) -> Array:
        """`[R]`, the log-sum-exp of the scores."""
        return self.peak + jnp.log(jnp.sum(self.lanes, axis=-1))


def _grid(scores: Array) -> Array:
    """`[R, V]` as `[R, ceil(V / _LANES), _LANES]`, filled up with -inf."""
    missing = -scores.shape[1] % _LANES
    padded = jnp.pad(scores, ((0, 0), (0, missing)), constant_values=-jnp.inf)
    return padded.reshape(scores.shape[0], -1, _LANES)


def _draw(scores: Array, mass: _Mass, rows: SamplingRows[Array]) -> Array:
    """Tokens `[R]` int32 by inversion, of two uniform numbers keyed by the row's seed and step.

    Args:
        scores: `[R, V]`, unnormalised log-probs.
        mass: theirs.
        rows: of which seed and step are read.
    """

    def uniform(words: Array, step: Array) -> Array:
        key = jax.random.fold_in(jax.random.wrap_key_data(words, impl="threefry2x32"), step)
        return jax.random.uniform(key, (2,))

    chance = jax.vmap(uniform)(rows.seed, rows.step)
    lane = invert(chance[:, 0], mass.lanes)
    column = jnp.take_along_axis(_grid(scores), lane[:, None, None], axis=2)[:, :, 0]
    place = invert(chance[:, 1], jnp.exp(column - mass.peak[:, None]))
    return place * _LANES + lane


def invert(chance: Array, weights: Array) -> Array:
    """The index `[R]` at which the running sum of `weights [R, N]` exceeds its share `chance [R]`.

    Where rounding puts that beyond the end it is the last index of any weight: none without weight
    is ever drawn.
    """
    sums = jnp.cumsum(weights, axis=-1)
    index = jnp.sum(sums <= chance[:, None] * sums[:, -1:], axis=-1)
    places = jnp.arange(weights.shape[1])
    return jnp.minimum(index, jnp.max(jnp.where(weights > 0, places, 0), axis=-1)).astype(jnp.int32)


def _likeliest(logits: Array) -> Array:
    """Where the highest of `logits [R, V]` is, `[R]` int32; of several, the first.

    That is `argmax`, which XLA's CPU backend does not vectorise.
    """
    places = jnp.arange(logits.shape[1], dtype=jnp.int32)
    is_highest = logits == jnp.max(logits, axis=-1, keepdims=True)
    return jnp.min(jnp.where(is_highest, places, logits.shape[1] - 1), axis=-1)


def _pick(scores: Array, token: Array) -> Array:
    """Of each row of `scores [N, V]` that of its `token [N]`: `[N]`."""
    return jnp.take_along_axis(scores, token[:, None], axis=-1)[:, 0]


def _alternatives(logits: Array, total: Array, wants_top: Array) -> tuple[Array, Array]:
    """Ids and log-probs `[R, min(20, V)]` of the likeliest, or zeros where nobody wants them.

    Args:
        logits: `[R, V]`.
        total: `[R]`, their log-sum-exps.
        wants_top: `[]` bool.
    """
    count = min(MAX_TOP_LOGPROBS, logits.shape[1])

    def likeliest() -> tuple[Array, Array]:
        values, ids = jax.lax.top_k(logits, count)
        return ids, values - total[:, None]

    def nothing() -> tuple[Array, Array]:
        shape = (logits.shape[0], count)
        return jnp.zeros(shape, jnp.int32), jnp.zeros(shape, jnp.float32)

    return jax.lax.cond(wants_top, likeliest, nothing)
