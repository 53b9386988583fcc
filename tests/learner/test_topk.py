"""Distillation over a support and one tail, against full distributions in plain numpy."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from clawjax.learner.topk import MIN_TAIL, log1mexp, support_reverse_kl

N, V = 3, 12
LOGITS = hnp.arrays(np.float32, (N, V), elements=st.floats(-6, 6, width=32))


def support_logprobs(logits: jax.Array, support: jax.Array) -> jax.Array:
    """By the definition: `[N, V]` and `[N, K]` to `[N, K]`."""
    return jnp.take_along_axis(jax.nn.log_softmax(logits), support, axis=-1)


def topk_reverse_kl(
    student_logits: jax.Array, support: jax.Array, teacher_logprobs: jax.Array
) -> jax.Array:
    """From logits, as a function of which the gradient can be known."""
    return support_reverse_kl(support_logprobs(student_logits, support), teacher_logprobs)


jitted_kl = jax.jit(topk_reverse_kl)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    logits = logits.astype(np.float64)
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def support_of(logits: np.ndarray, k: int) -> np.ndarray:
    return np.argsort(-logits, axis=-1, kind="stable")[:, :k].astype(np.int32)


def on(support: np.ndarray, logprobs: np.ndarray) -> np.ndarray:
    return np.take_along_axis(logprobs, support, axis=-1).astype(np.float32)


def binned(logprobs: np.ndarray, support: np.ndarray) -> np.ndarray:
    """Probabilities of the support and of all else, `[N, K + 1]`."""
    p = np.exp(logprobs)
    chosen = np.take_along_axis(p, support, axis=-1)
    rest = p.copy()
    np.put_along_axis(rest, support, 0.0, axis=-1)
    return np.concatenate([chosen, rest.sum(-1, keepdims=True)], axis=-1)


def kl(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    return (p * (np.log(p) - np.log(q))).sum(-1)


@settings(deadline=None, max_examples=25)
@given(LOGITS, LOGITS, st.sampled_from([1, 4, 8]))
def test_values_against_numpy(student: np.ndarray, teacher: np.ndarray, k: int) -> None:
    p, q = log_softmax(student), log_softmax(teacher)
    support = support_of(teacher, k)
    expected = kl(binned(p, support), binned(q, support))
    for function in (topk_reverse_kl, jitted_kl):
        actual = function(jnp.asarray(student), support, on(support, q))
        assert actual.shape == (N,)
        np.testing.assert_allclose(actual, expected, rtol=2e-3, atol=2e-4)
    assert (expected <= kl(np.exp(p), np.exp(q)) + 1e-9).all()  # never more than all of it


@settings(deadline=None, max_examples=25)
@given(LOGITS, LOGITS)
def test_a_support_of_all_is_the_full_kl(student: np.ndarray, teacher: np.ndarray) -> None:
    p, q = log_softmax(student), log_softmax(teacher)
    support = support_of(teacher, V)
    actual, slopes = value_and_slopes(student, support, on(support, q))
    expected = kl(np.exp(p), np.exp(q))
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)
    of_kl = np.exp(p) * (p - q - expected[:, None])
    np.testing.assert_allclose(slopes, of_kl, rtol=1e-3, atol=1e-5)


def value_and_slopes(
    student: np.ndarray, support: np.ndarray, teacher_logprobs: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    values, pull = jax.vjp(
        lambda logits: jitted_kl(logits, support, teacher_logprobs), jnp.asarray(student)
    )
    (slopes,) = pull(jnp.ones(len(student)))
    return np.asarray(values), np.asarray(slopes)


@pytest.mark.parametrize("k", [1, 4, 11])
def test_gradient_against_numpy(k: int) -> None:
    rng = np.random.default_rng(k)
    student, teacher = (2 * rng.normal(size=(2, N, V))).astype(np.float32)
    p, q, support = log_softmax(student), log_softmax(teacher), support_of(student, k)
    of_bins = np.log(binned(p, support)) - np.log(binned(q, support))
    per_token = np.repeat(of_bins[:, -1:], V, axis=-1)
    np.put_along_axis(per_token, support, of_bins[:, :-1], axis=-1)
    total = kl(binned(p, support), binned(q, support))[:, None]
    _, slopes = value_and_slopes(student, support, on(support, q))
    np.testing.assert_allclose(slopes, np.exp(p) * (per_token - total), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("k", [1, 4, 11, 12])
def test_a_teacher_who_agrees_teaches_nothing(k: int) -> None:
    student = np.random.default_rng(0).normal(size=(N, V)).astype(np.float32)
    support = support_of(student, k)
    same = np.asarray(support_logprobs(jnp.asarray(student), support))
    values, slopes = value_and_slopes(student, support, same)
    np.testing.assert_array_equal(values, 0.0)
    np.testing.assert_allclose(slopes, 0.0, atol=1e-6)


def test_gradient_moves_the_student_to_the_teacher() -> None:
    rng = np.random.default_rng(1)
    student, teacher = rng.normal(size=(2, N, V)).astype(np.float32)
    support, q = support_of(teacher, 4), log_softmax(teacher)
    before, slopes = value_and_slopes(student, support, on(support, q))
    after, _ = value_and_slopes(student - 0.1 * slopes, support, on(support, q))
    assert (after < before).all()


def test_no_gradient_reaches_the_teacher() -> None:
    support = np.array([[0, 1]], np.int32)
    slopes = jax.grad(lambda q: jnp.sum(topk_reverse_kl(jnp.zeros((1, 4)), support, q)))(
        jnp.asarray([[-1.0, -2.0]])
    )
    np.testing.assert_array_equal(slopes, 0.0)


@settings(deadline=None, max_examples=25)
@given(LOGITS, LOGITS, st.permutations(range(5)))
def test_the_order_of_the_support_does_not_matter(
    student: np.ndarray, teacher: np.ndarray, order: list[int]
) -> None:
    support, q = support_of(teacher, 5), log_softmax(teacher)
    expected = jitted_kl(student, support, on(support, q))
    actual = jitted_kl(student, support[:, order], on(support[:, order], q))
    # The mass off the support is 1 less a sum, which is rounded by its order.
    np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=1e-5)


def test_log_probs_and_shifted_logits_serve_as_logits() -> None:
    rng = np.random.default_rng(2)
    student, teacher = rng.normal(size=(2, N, V)).astype(np.float32)
    support, q = support_of(teacher, 4), log_softmax(teacher)
    expected = jitted_kl(student, support, on(support, q))
    for same in (log_softmax(student).astype(np.float32), student + 20.0):
        actual = jitted_kl(same, support, on(support, q))
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


def test_certainty_on_either_side_stays_finite() -> None:
    sure = np.array([[80.0, 0.0, 0.0, 0.0]], np.float32)
    unsure = np.zeros((1, 4), np.float32)
    support = np.array([[0, 1]], np.int32)
    for student in (sure, unsure, -sure):
        for teacher in (sure, unsure, -sure):
            values, slopes = value_and_slopes(student, support, on(support, log_softmax(teacher)))
            assert np.isfinite(values).all()
            assert np.isfinite(slopes).all()
    pulled, _ = value_and_slopes(unsure, support[:, :1], np.zeros((1, 1), np.float32))
    tail = 0.75 * np.log(0.75 / MIN_TAIL)
    np.testing.assert_allclose(pulled, [tail + 0.25 * np.log(0.25)], rtol=1e-4)


def test_a_student_without_mass_on_a_token_stays_finite() -> None:
    student = jnp.asarray([[0.0, -jnp.inf, 0.0]])
    support = np.array([[0, 1]], np.int32)
    value = topk_reverse_kl(student, support, jnp.log(jnp.asarray([[0.5, 0.2]])))
    np.testing.assert_allclose(value, 0.5 * np.log(0.5 / 0.3), rtol=1e-5)


@pytest.mark.parametrize("x", [-1e-7, -1e-3, -0.5, -0.6931472, -0.7, -5.0, -80.0])
def test_log1mexp_at_both_ends(x: float) -> None:
    for function in (log1mexp, jax.jit(log1mexp)):
        exact = np.float64(np.float32(x))
        assert float(function(jnp.asarray(x))) == pytest.approx(
            float(np.log(-np.expm1(exact))), rel=1e-5
        )
    slope = jax.grad(log1mexp)(jnp.asarray(x))
    assert float(slope) == pytest.approx(float(-1 / np.expm1(-exact)), rel=1e-5)
