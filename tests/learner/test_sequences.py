"""Sums and means per turn against plain numpy, however the turns are laid out."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from turn_layouts import by_turn, lay_out, random_turns

from clawjax.learner.sequences import per_turn_count, per_turn_mean, per_turn_sum, spread

MAX_TURNS = 5
SHAPE = (3, 8)
VALUES = hnp.arrays(np.float32, SHAPE, elements=st.floats(-4, 4, width=32))
TURN_IDS = hnp.arrays(np.int32, SHAPE, elements=st.integers(0, MAX_TURNS))
SUM, MEAN, COUNT = (
    partial(reduce, max_turns=MAX_TURNS) for reduce in (per_turn_sum, per_turn_mean, per_turn_count)
)
JITTED = {reduce: jax.jit(reduce) for reduce in (SUM, MEAN, COUNT, spread)}


@settings(deadline=None)
@given(VALUES, TURN_IDS)
def test_values_against_numpy(values: np.ndarray, turn_ids: np.ndarray) -> None:
    own = [values[turn_ids == number].astype(np.float64) for number in range(1, MAX_TURNS + 1)]
    expected = {
        SUM: [tokens.sum() for tokens in own],
        MEAN: [tokens.mean() if tokens.size else 0.0 for tokens in own],
    }
    for reduce, per_turn in expected.items():
        for function in (reduce, JITTED[reduce]):
            np.testing.assert_allclose(function(values, turn_ids), per_turn, rtol=1e-5, atol=1e-5)
    for function in (COUNT, JITTED[COUNT]):
        np.testing.assert_array_equal(function(turn_ids), [tokens.size for tokens in own])


@settings(deadline=None)
@given(hnp.arrays(np.float32, MAX_TURNS, elements=st.floats(-4, 4, width=32)), TURN_IDS)
def test_spread_gives_each_token_its_turns_value(
    per_turn: np.ndarray, turn_ids: np.ndarray
) -> None:
    expected = np.where(turn_ids > 0, per_turn[np.maximum(turn_ids, 1) - 1], 0.0)
    for function in (spread, JITTED[spread]):
        np.testing.assert_array_equal(function(jnp.asarray(per_turn), turn_ids), expected)


def test_spread_of_truths_is_false_off_the_turns() -> None:
    turn_ids = np.array([[0, 1, 2]], np.int32)
    spreaded = spread(jnp.array([True, True]), turn_ids)
    assert spreaded.dtype == bool
    np.testing.assert_array_equal(spreaded, [[False, True, True]])


@settings(deadline=None)
@given(VALUES, TURN_IDS)
def test_spread_is_the_transpose_of_the_sum(values: np.ndarray, turn_ids: np.ndarray) -> None:
    per_turn = jnp.arange(1.0, MAX_TURNS + 1)
    slopes = jax.grad(lambda v: jnp.sum(SUM(v, turn_ids) * per_turn))(jnp.asarray(values))
    np.testing.assert_array_equal(slopes, spread(per_turn, turn_ids))


def test_how_turns_are_laid_out_does_not_matter() -> None:
    turns = random_turns([4, 1, 7, 3, 2])
    alone = lay_out(turns, [[0], [1], [2], [3], [4]], length=8)
    packed = lay_out(turns, [[2, 1, 3], [0, 4]], length=16, gap=1)
    for reduce in (SUM, MEAN):
        expected, actual = (reduce(each.arrays["new"], each.turn_ids) for each in (alone, packed))
        np.testing.assert_allclose(actual, expected, rtol=1e-6)


def test_what_stands_off_the_turns_has_no_say() -> None:
    layout = lay_out(random_turns([3, 2]), [[0, 1]], length=10, gap=2)
    values, turn_ids = layout.arrays["new"], layout.turn_ids
    poisoned = np.where(turn_ids > 0, values, np.nan)
    np.testing.assert_array_equal(MEAN(poisoned, turn_ids), MEAN(values, turn_ids))
    slopes = jax.grad(lambda v: jnp.sum(jnp.square(MEAN(v, turn_ids))))(jnp.asarray(poisoned))
    assert not np.asarray(slopes)[turn_ids == 0].any()
    assert all(np.isfinite(tokens).all() for tokens in by_turn(slopes, turn_ids))


def test_a_number_beyond_the_largest_is_left_out() -> None:
    turn_ids = np.array([[1, MAX_TURNS + 1]], np.int32)
    np.testing.assert_array_equal(SUM(jnp.ones((1, 2)), turn_ids), [1, 0, 0, 0, 0])
    np.testing.assert_array_equal(spread(jnp.ones(MAX_TURNS), turn_ids), [[1, 0]])
