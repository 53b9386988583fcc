"""Reductions over the response tokens of one turn, wherever the turn lies in a packed batch.

Several turns can share a row and even a sequence, so a turn is told by its number in `turn_ids`
`[B, T]` int32: 1 to `max_turns` within the micro-batch, 0 off the response tokens. Pure, fp32,
differentiable. Invariant: what stands at tokens of no turn reaches no value and no gradient.
"""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
from jax import Array

__all__ = ["per_turn_count", "per_turn_mean", "per_turn_sum", "spread"]


def per_turn_sum(values: Array, turn_ids: Array, *, max_turns: int) -> Array:
    """`S_i = sum_{t in turn i} values_t`: `[B, T]` to `[max_turns]`, turn i at index i - 1.

    0 for numbers that no token bears. Tokens of turns above `max_turns`, which is static, are
    left out, so it must not be less than the largest number.
    """
    chex.assert_equal_shape([values, turn_ids])
    sums = jax.ops.segment_sum(values.ravel(), turn_ids.ravel(), num_segments=max_turns + 1)
    return sums[1:]


def per_turn_count(turn_ids: Array, *, max_turns: int) -> Array:
    """Response tokens of each turn, fp32 `[max_turns]`."""
    return per_turn_sum(jnp.ones(turn_ids.shape, jnp.float32), turn_ids, max_turns=max_turns)


def per_turn_mean(values: Array, turn_ids: Array, *, max_turns: int) -> Array:
    """`S_i / |i|`: `[B, T]` to `[max_turns]`; 0 for numbers that no token bears."""
    count = per_turn_count(turn_ids, max_turns=max_turns)
    return per_turn_sum(values, turn_ids, max_turns=max_turns) / jnp.maximum(count, 1.0)


def spread(per_turn: Array, turn_ids: Array) -> Array:
    """Give every response token its turn's value: `[max_turns]` to `[B, T]`, 0 (False) elsewhere.

    Transposed to `per_turn_sum`: the gradient at a turn is the sum over its tokens.
    """
    chex.assert_rank([per_turn, turn_ids], [1, 2])
    padded = jnp.pad(per_turn, (1, 0))
    return padded.at[turn_ids].get(mode="fill", fill_value=0)
