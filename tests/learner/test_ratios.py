"""Ratios and off-policy presets against plain numpy; on-policy, every preset changes nothing."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from turn_layouts import Layout, by_turn, lay_out, random_turns

from clawjax.learner.losses import clipped_surrogate, reinforce
from clawjax.learner.ratios import (
    PRESETS,
    OffPolicy,
    Preset,
    importance_ratio,
    off_policy,
    truncate,
)

LENGTHS = [4, 1, 7, 3]
ROWS = [[2], [0, 1, 3]]
CLIP = {"clip_low": 0.2, "clip_high": 0.28}
BOUNDS = {"cap": 1.2, "low": 0.8, "high": 1.3}


def layout_of(seed: int) -> Layout:
    return lay_out(random_turns(LENGTHS, seed), ROWS, length=14)


def corrected(preset: Preset, layout: Layout, *, is_jitted: bool = False, **changes) -> OffPolicy:
    arrays = {**layout.arrays, **changes}
    function = partial(off_policy, preset, max_turns=len(LENGTHS), **BOUNDS)
    function = jax.jit(function) if is_jitted else function
    return function(
        arrays["new"],
        arrays["sampler"],
        layout.turn_ids,
        proximal_logprobs=arrays["proximal"],
        is_truncated=arrays.get("is_truncated"),
    )


def expected_turn(preset: Preset, turn: dict[str, np.ndarray]) -> tuple[Any, Any, np.ndarray]:
    """Weights, keep and ratio log-probs of one turn, in fp64."""
    new, sampler, proximal = (
        turn[name].astype(np.float64) for name in ("new", "sampler", "proximal")
    )
    c = np.exp(proximal - sampler)
    is_close = (c >= 0.8) & (c <= 1.3)
    is_close_whole = 0.8 <= c.prod() <= 1.3
    is_close_mean = 0.8 <= c.prod() ** (1 / len(c)) <= 1.3
    return {
        "none": (1.0, True, sampler),
        "tis": (np.minimum(np.exp(new - sampler), 1.2), True, new),
        "seq_mask": (float(is_close_whole), is_close_whole, sampler),
        "geo_mask": (float(is_close_mean), is_close_mean, sampler),
        "icepop": (np.where(is_close, c, 0.0), is_close, proximal),
        "decoupled": (np.minimum(c, 1.2), True, proximal),
    }[preset]


@pytest.mark.parametrize("is_jitted", [False, True])
@pytest.mark.parametrize("preset", PRESETS)
def test_presets_against_numpy(preset: Preset, *, is_jitted: bool) -> None:
    kept = []
    for seed in range(6):
        layout = layout_of(seed)
        correction = corrected(preset, layout, is_jitted=is_jitted)
        actual = [by_turn(field, layout.turn_ids) for field in correction]
        for turn, weights, keep, ratio_logprobs in zip(
            random_turns(LENGTHS, seed), *actual, strict=True
        ):
            expected = expected_turn(preset, turn)
            np.testing.assert_allclose(weights, np.broadcast_to(expected[0], weights.shape), 1e-5)
            np.testing.assert_array_equal(keep, np.broadcast_to(expected[1], keep.shape))
            np.testing.assert_array_equal(ratio_logprobs, expected[2].astype(np.float32))
            kept.extend(keep)
    assert any(kept)
    assert all(kept) is (preset in ("none", "tis", "decoupled"))


@pytest.mark.parametrize("preset", PRESETS)
def test_only_response_tokens_are_kept(preset: Preset) -> None:
    layout = layout_of(0)
    correction = corrected(preset, layout)
    off = layout.turn_ids == 0
    assert not np.asarray(correction.keep)[off].any()
    assert not np.asarray(correction.weights)[~np.asarray(correction.keep)].any()


@pytest.mark.parametrize("preset", PRESETS)
def test_on_policy_every_preset_is_the_identity(preset: Preset) -> None:
    layout = layout_of(0)
    new, a = jnp.asarray(layout.arrays["new"]), layout.arrays["advantages"]
    correction = corrected(preset, layout, sampler=new, proximal=new)
    is_response = layout.turn_ids > 0
    np.testing.assert_array_equal(correction.weights, is_response.astype(np.float32))
    np.testing.assert_array_equal(correction.keep, is_response)
    np.testing.assert_array_equal(importance_ratio(new, correction.ratio_logprobs), 1.0)

    def loss(logprobs):
        surrogate = clipped_surrogate(logprobs, correction.ratio_logprobs, a, **CLIP)
        return jnp.sum(correction.weights * surrogate)

    np.testing.assert_allclose(jax.grad(loss)(new), -a * is_response, rtol=1e-6)


@pytest.mark.parametrize("preset", [name for name in PRESETS if name != "decoupled"])
def test_without_a_proximal_policy_the_new_one_stands_in(preset: Preset) -> None:
    layout = layout_of(1)
    new = layout.arrays["new"]
    given_new = corrected(preset, layout, proximal=new)
    absent = corrected(preset, layout, proximal=None)
    for left, right in zip(given_new, absent, strict=True):
        np.testing.assert_array_equal(left, right)


def test_presets_that_cannot_run_say_why() -> None:
    layout = layout_of(0)
    with pytest.raises(ValueError, match="needs proximal_logprobs"):
        corrected("decoupled", layout, proximal=None)
    with pytest.raises(ValueError, match="'magic' is unknown: use one of none, tis"):
        corrected("magic", layout)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_correction_carries_no_gradient(preset: Preset) -> None:
    layout = layout_of(2)

    def total(new, sampler, proximal):
        correction = corrected(preset, layout, new=new, sampler=sampler, proximal=proximal)
        return jnp.sum(correction.weights) + jnp.sum(correction.ratio_logprobs)

    arrays = [jnp.asarray(layout.arrays[name]) for name in ("new", "sampler", "proximal")]
    for slopes in jax.grad(total, argnums=(0, 1, 2))(*arrays):
        assert not np.asarray(slopes).any()


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 99), st.sampled_from(PRESETS), st.permutations([0, 1, 2, 3]))
def test_how_turns_are_laid_out_does_not_matter(
    seed: int, preset: Preset, order: list[int]
) -> None:
    turns = random_turns(LENGTHS, seed)
    alone = lay_out(turns, [[0], [1], [2], [3]], length=9, gap=2)
    packed = lay_out(turns, [order[:2], order[2:]], length=16, gap=1)
    expected, actual = corrected(preset, alone), corrected(preset, packed)
    for left, right in zip(expected, actual, strict=True):
        for a, b in zip(
            by_turn(left, alone.turn_ids), by_turn(right, packed.turn_ids), strict=True
        ):
            np.testing.assert_allclose(a, b, rtol=1e-6)


def test_a_turn_out_of_bounds_teaches_nothing_and_leaves_the_others_alone() -> None:
    turns = random_turns([5, 5], spread=0.01)
    turns[1]["sampler"] = turns[1]["new"] - 0.5
    layout = lay_out(turns, [[0, 1]], length=14)
    for preset in ("seq_mask", "geo_mask"):
        correction = off_policy(
            preset, layout.arrays["new"], layout.arrays["sampler"], layout.turn_ids, max_turns=2
        )
        kept = [tokens.all() for tokens in by_turn(correction.keep, layout.turn_ids)]
        # e^0.5 per token is within [0.5, 2]; e^2.5 for the turn is not.
        assert kept == [True, preset == "geo_mask"]


def test_no_lower_bound_keeps_what_the_policy_has_abandoned() -> None:
    new, sampler = jnp.full((1, 3), -30.0), jnp.zeros((1, 3))
    turn_ids = jnp.ones((1, 3), jnp.int32)
    for preset in ("seq_mask", "geo_mask", "icepop"):
        keeps = [
            bool(off_policy(preset, new, sampler, turn_ids, max_turns=1, low=low).keep.all())
            for low in (0.0, 0.5)
        ]
        assert keeps == [True, False]


def test_sequence_ratios_beyond_fp32_are_compared_all_the_same() -> None:
    new, sampler = jnp.zeros((1, 400)), jnp.full((1, 400), -1.0)
    turn_ids = jnp.ones((1, 400), jnp.int32)
    correction = off_policy("seq_mask", new, sampler, turn_ids, max_turns=1, high=1e300)
    assert correction.keep.all()


AGAINST_THE_SAMPLER = ["none", "seq_mask", "geo_mask"]


@pytest.mark.parametrize("preset", PRESETS)
def test_of_truncated_turns_the_share_kept_is_a_weight(preset: Preset) -> None:
    layout = layout_of(4)
    is_truncated = np.isin(layout.turn_ids, [1, 3])
    plain, mixed = corrected(preset, layout), corrected(preset, layout, is_truncated=is_truncated)
    apart = corrected("decoupled", layout) if preset in AGAINST_THE_SAMPLER else plain
    np.testing.assert_array_equal(mixed.keep, plain.keep)
    for name in ("weights", "ratio_logprobs"):
        wanted = np.where(is_truncated, getattr(apart, name), getattr(plain, name))
        at = np.asarray(plain.keep)
        np.testing.assert_array_equal(np.asarray(getattr(mixed, name))[at], wanted[at])


def test_tis_has_the_gradient_of_the_truncated_ratio() -> None:
    layout = layout_of(3)
    a, sampler = layout.arrays["advantages"], layout.arrays["sampler"]
    correction = corrected("tis", layout)

    def weighted(new):
        return jnp.sum(reinforce(new, a, weights=correction.weights))

    def truncated(new):
        on_response = jnp.where(layout.turn_ids > 0, 1.0, 0.0)
        return -jnp.sum(on_response * truncate(importance_ratio(new, sampler), 1.2) * a)

    new = jnp.asarray(layout.arrays["new"])
    np.testing.assert_allclose(jax.grad(weighted)(new), jax.grad(truncated)(new), rtol=1e-5)


def test_decoupled_clips_the_step_and_not_the_age() -> None:
    turns = random_turns([1], spread=0.0)
    turns[0]["sampler"] = turns[0]["new"] - 0.5  # far from the sampler, at the step's start
    layout = lay_out(turns, [[0]], length=3)
    turns_a = jnp.where(layout.turn_ids > 0, 1.0, 0.0)

    def slope(preset: Preset) -> float:
        correction = corrected(preset, layout)

        def loss(new):
            surrogate = clipped_surrogate(new, correction.ratio_logprobs, turns_a, **CLIP)
            return jnp.sum(correction.weights * surrogate)

        return float(jnp.sum(jax.grad(loss)(jnp.asarray(layout.arrays["new"]))))

    assert slope("none") == 0.0
    assert slope("decoupled") == pytest.approx(-1.2)


def test_truncation_keeps_the_gradient_of_the_capped_value() -> None:
    log_ratio = jnp.log(jnp.asarray([0.5, 8.0]))
    values = truncate(jnp.exp(log_ratio), 2.0)
    np.testing.assert_allclose(values, [0.5, 2.0], rtol=1e-6)
    slopes = jax.grad(lambda x: jnp.sum(truncate(jnp.exp(x), 2.0)))(log_ratio)
    np.testing.assert_allclose(slopes, [0.5, 2.0], rtol=1e-6)


def test_no_gradient_reaches_the_sampler() -> None:
    slope = jax.grad(lambda old: jnp.sum(importance_ratio(jnp.ones(2), old)))(jnp.zeros(2))
    np.testing.assert_array_equal(slope, [0.0, 0.0])


def test_the_ratio_is_clamped_in_value_alone() -> None:
    new, a = jnp.asarray([-1.0, -1.0, -51.0]), jnp.asarray([1.0, -1.0, 1.0])
    old = jnp.asarray([-51.0, -51.0, -1.0])
    values, pull = jax.vjp(lambda x: importance_ratio(x, old), new)
    np.testing.assert_allclose(values, np.exp([20.0, 20.0, -20.0]), rtol=1e-6)
    np.testing.assert_array_equal(*pull(jnp.ones(3)), values)
    slopes = jax.grad(lambda x: jnp.sum(clipped_surrogate(x, old, a, ratio_cap=2.0, **CLIP)))(new)
    # Praise has done enough; a complaint counts up to the cap; praise far down barely counts.
    np.testing.assert_allclose(slopes, [0.0, 2.0, -np.exp(-20.0)], rtol=1e-5)


def test_same_policy_means_ratio_one() -> None:
    logprobs = jnp.asarray([-0.3, -7.0])
    np.testing.assert_array_equal(importance_ratio(logprobs, logprobs), [1.0, 1.0])
    assert jnp.isfinite(importance_ratio(jnp.asarray([0.0, -1e4]), jnp.asarray([-1e4, 0.0]))).all()
