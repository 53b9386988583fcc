"""Losses and ratios against plain numpy, and the signs of their gradients."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from clawjax.learner.losses import clipped_surrogate, is_clipped, k3_kl
from clawjax.learner.ratios import importance_ratio, truncate

SHAPE = (2, 3)
LOGPROBS = hnp.arrays(np.float32, SHAPE, elements=st.floats(-8, 0, width=32))
ADVANTAGES = hnp.arrays(np.float32, SHAPE, elements=st.floats(-2, 2, width=32))
CLIP = {"clip_low": 0.2, "clip_high": 0.28}
jitted_surrogate = jax.jit(clipped_surrogate)


@settings(deadline=None)
@given(LOGPROBS, LOGPROBS, ADVANTAGES)
def test_surrogate_against_numpy(new: np.ndarray, old: np.ndarray, a: np.ndarray) -> None:
    r = np.exp(new.astype(np.float64) - old)
    expected = -np.minimum(np.minimum(r, 2.0) * a, np.clip(r, 0.8, 1.28) * a)
    for surrogate in (clipped_surrogate, jitted_surrogate):
        actual = surrogate(jnp.asarray(new), old, a, ratio_cap=2.0, **CLIP)
        assert actual.shape == SHAPE
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


@settings(deadline=None)
@given(LOGPROBS, LOGPROBS)
def test_k3_against_numpy_and_never_negative(new: np.ndarray, base: np.ndarray) -> None:
    d = base.astype(np.float64) - new
    actual = k3_kl(jnp.asarray(new), jnp.asarray(base))
    np.testing.assert_allclose(actual, np.exp(d) - 1 - d, rtol=1e-4, atol=1e-5)
    assert (np.asarray(actual) >= -1e-6).all()


def test_k3_averages_to_the_kl_over_samples_of_the_policy() -> None:
    rng = np.random.default_rng(0)
    p, q = rng.dirichlet(np.ones(6)), rng.dirichlet(np.ones(6))
    estimate = np.asarray(k3_kl(jnp.log(p), jnp.log(q)))
    assert float((p * estimate).sum()) == pytest.approx(float((p * np.log(p / q)).sum()), rel=1e-4)


def gradient(new: float, old: float, a: float) -> float:
    def loss(logprob):
        return jitted_surrogate(logprob, jnp.asarray(old), jnp.asarray(a), ratio_cap=2.0, **CLIP)

    return float(jax.grad(loss)(jnp.asarray(new)))


@pytest.mark.parametrize(
    ("log_ratio", "advantage", "expected"),
    [
        (0.0, 1.0, -1.0),  # praise raises the log-prob: its loss falls with it
        (0.0, -1.0, 1.0),
        (0.2, 1.0, -np.exp(0.2)),
        (0.3, 1.0, 0.0),  # above 1.28: enough
        (-0.3, 1.0, -np.exp(-0.3)),
        (-0.3, -1.0, 0.0),  # below 0.8: enough
        (0.5, -1.0, np.exp(0.5)),
        (1.5, -1.0, 2.0),  # capped at 2, and still learning
        (0.7, 0.0, 0.0),
    ],
)
def test_gradients_of_the_surrogate(log_ratio: float, advantage: float, expected: float) -> None:
    assert gradient(-1.0 + log_ratio, -1.0, advantage) == pytest.approx(expected, rel=1e-4)


@settings(deadline=None)
@given(LOGPROBS, LOGPROBS, ADVANTAGES)
def test_clipped_is_where_the_gradient_is_gone(
    new: np.ndarray, old: np.ndarray, a: np.ndarray
) -> None:
    ratio = importance_ratio(jnp.asarray(new), jnp.asarray(old))
    gone = is_clipped(ratio, jnp.asarray(a), **CLIP)

    def loss(logprobs):
        return jnp.sum(jitted_surrogate(logprobs, old, a, ratio_cap=2.0, **CLIP))

    slopes = np.asarray(jax.grad(loss)(jnp.asarray(new)))
    assert not slopes[np.asarray(gone)].any()
    has_say = (np.abs(a) > 1e-6) & ~np.asarray(gone) & (np.asarray(ratio) > 1e-3)
    assert (np.sign(slopes[has_say]) == -np.sign(a[has_say])).all()


def test_same_policy_means_ratio_one_and_no_kl() -> None:
    logprobs = jnp.asarray([-0.3, -7.0])
    np.testing.assert_array_equal(importance_ratio(logprobs, logprobs), [1.0, 1.0])
    np.testing.assert_array_equal(k3_kl(logprobs, logprobs), [0.0, 0.0])


def test_extreme_log_ratios_stay_finite() -> None:
    new, old = jnp.asarray([0.0, -1e4]), jnp.asarray([-1e4, 0.0])
    assert jnp.isfinite(importance_ratio(new, old)).all()
    assert jnp.isfinite(k3_kl(new, old)).all()


def test_truncation_keeps_the_gradient_of_the_capped_value() -> None:
    log_ratio = jnp.log(jnp.asarray([0.5, 8.0]))
    values = truncate(jnp.exp(log_ratio), 2.0)
    np.testing.assert_allclose(values, [0.5, 2.0], rtol=1e-6)
    slopes = jax.grad(lambda x: jnp.sum(truncate(jnp.exp(x), 2.0)))(log_ratio)
    np.testing.assert_allclose(slopes, [0.5, 2.0], rtol=1e-6)


def test_no_gradient_reaches_the_sampler() -> None:
    slope = jax.grad(lambda old: jnp.sum(importance_ratio(jnp.ones(2), old)))(jnp.zeros(2))
    np.testing.assert_array_equal(slope, [0.0, 0.0])
