"""Chunked log-probs equal those of the whole logits, values and gradients alike."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array
from jax.extend.core import jaxprs_in_params

from clawjax.learner.logprobs import CHUNK, likeliest_tokens, response_scores

scores_of = jax.jit(response_scores, static_argnums=0, static_argnames="is_head_trained")

B, T, D, V = 3, 61, 8, 29
"""More positions than one chunk, and no multiple of it."""


def head(table: Any, hidden: Array) -> Array:
    return hidden @ table.T


def inputs(share: float = 0.7) -> tuple[Array, Array, Array, Array, Array]:
    rng = np.random.default_rng(0)
    mask = rng.random((B, T)) < share
    mask[:, 0] = False
    return (
        jnp.asarray(rng.normal(size=(V, D)), jnp.float32),
        jnp.asarray(rng.normal(size=(B, T, D)), jnp.float32),
        jnp.asarray(rng.integers(0, V, (B, T)), jnp.int32),
        jnp.asarray(mask),
        jnp.asarray(rng.uniform(0.5, 1.5, (B, T)), jnp.float32),
    )


def plain(table: Array, hidden: Array, ids: Array, mask: Array, temperature: Array) -> Array:
    """The same, holding all logits."""
    logits = head(table, hidden)[:, :-1] / temperature[:, 1:, None]
    shifted = jax.nn.log_softmax(logits)
    picked = jnp.take_along_axis(shifted, ids[:, 1:, None], axis=-1)[..., 0]
    return jnp.where(mask, jnp.pad(picked, ((0, 0), (1, 0))), 0.0)


def test_there_are_several_chunks_here() -> None:
    assert CHUNK < B * T * 0.7


@pytest.mark.parametrize("share", [0.0, 0.05, 0.7, 1.0])
def test_values_against_whole_logits(share: float) -> None:
    args = inputs(share)
    actual = scores_of(head, *args, is_head_trained=False)
    np.testing.assert_allclose(actual.logprobs, plain(*args), rtol=1e-5, atol=1e-5)


def test_entropy_against_numpy() -> None:
    table, hidden, ids, mask, temperature = inputs()
    scores = scores_of(head, table, hidden, ids, mask, temperature, is_head_trained=False)
    logits = np.asarray(head(table, hidden), np.float64)[:, :-1]
    logits /= np.asarray(temperature)[:, 1:, None]
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    entropy = -(p * np.log(p)).sum(-1)
    expected = np.where(mask, np.pad(entropy, ((0, 0), (1, 0))), 0.0)
    np.testing.assert_allclose(scores.entropy, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("is_head_trained", [True, False])
def test_gradients_against_whole_logits(is_head_trained: bool) -> None:
    table, hidden, *rest = inputs()
    upstream = jnp.asarray(np.random.default_rng(1).normal(size=(B, T)), jnp.float32)

    def chunked(table: Array, hidden: Array) -> Array:
        scores = response_scores(head, table, hidden, *rest, is_head_trained=is_head_trained)
        return jnp.sum(upstream * scores.logprobs)

    def whole(table: Array, hidden: Array) -> Array:
        return jnp.sum(upstream * plain(table, hidden, *rest))

    actual = jax.jit(jax.grad(chunked, argnums=(0, 1)))(table, hidden)
    expected = jax.grad(whole, argnums=(0, 1))(table, hidden)
    np.testing.assert_allclose(actual[1], expected[1], rtol=1e-4, atol=1e-5)
    if is_head_trained:
        np.testing.assert_allclose(actual[0], expected[0], rtol=1e-4, atol=1e-4)
    else:
        np.testing.assert_array_equal(actual[0], jnp.zeros_like(table))


def test_support_log_probs_and_their_gradients_against_whole_logits() -> None:
    table, hidden, ids, mask, temperature = inputs()
    rng = np.random.default_rng(2)
    support = jnp.asarray(rng.integers(0, V, (B, T, 4)), jnp.int32)
    upstream = jnp.asarray(rng.normal(size=(B, T, 4)), jnp.float32)

    def chunked(hidden: Array) -> tuple[Array, Array]:
        scores = response_scores(
            head, table, hidden, ids, mask, temperature, support, is_head_trained=False
        )
        return jnp.sum(upstream * scores.support_logprobs), scores.support_logprobs

    def whole(hidden: Array) -> tuple[Array, Array]:
        logits = head(table, hidden)[:, :-1] / temperature[:, 1:, None]
        picked = jnp.take_along_axis(jax.nn.log_softmax(logits), support[:, 1:], axis=-1)
        at_tokens = jnp.where(mask[..., None], jnp.pad(picked, ((0, 0), (1, 0), (0, 0))), 0.0)
        return jnp.sum(upstream * at_tokens), at_tokens

    slopes, values = jax.jit(jax.grad(chunked, has_aux=True))(hidden)
    expected_slopes, expected = jax.grad(whole, has_aux=True)(hidden)
    np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(slopes, expected_slopes, rtol=1e-4, atol=1e-5)


def test_the_gradient_of_the_entropy_against_whole_logits() -> None:
    table, hidden, ids, mask, temperature = inputs()
    upstream = jnp.asarray(np.random.default_rng(3).normal(size=(B, T)), jnp.float32)

    def chunked(hidden: Array) -> Array:
        scores = response_scores(head, table, hidden, ids, mask, temperature, is_head_trained=False)
        return jnp.sum(upstream * (scores.entropy + 0.5 * scores.logprobs))

    def whole(hidden: Array) -> Array:
        log_p = jax.nn.log_softmax(head(table, hidden)[:, :-1] / temperature[:, 1:, None])
        entropy = jnp.pad(-jnp.sum(jnp.exp(log_p) * log_p, axis=-1), ((0, 0), (1, 0)))
        logprobs = plain(table, hidden, ids, mask, temperature)
        return jnp.sum(upstream * (jnp.where(mask, entropy, 0.0) + 0.5 * logprobs))

    actual, expected = jax.jit(jax.grad(chunked))(hidden), jax.grad(whole)(hidden)
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


def test_likeliest_tokens_against_whole_logits() -> None:
    table, hidden, _, mask, temperature = inputs()
    found = jax.jit(partial(likeliest_tokens, head, k=3))(table, hidden, mask, temperature)
    logits = head(table, hidden)[:, :-1] / temperature[:, 1:, None]
    values, ids = jax.lax.top_k(jax.nn.log_softmax(logits), 3)
    at = np.asarray(mask)[:, 1:]
    np.testing.assert_array_equal(np.asarray(found.ids)[:, 1:][at], np.asarray(ids)[at])
    np.testing.assert_allclose(found.logprobs[:, 1:][at], values[at], rtol=1e-5, atol=1e-5)
    assert not np.asarray(found.logprobs)[~np.asarray(mask)].any()


def test_what_is_not_a_response_token_has_no_say() -> None:
    """Hidden states that predict nothing of the response get exactly no gradient."""
    table, hidden, ids, mask, temperature = inputs(share=0.3)

    def loss(hidden: Array) -> Array:
        scores = response_scores(head, table, hidden, ids, mask, temperature, is_head_trained=False)
        return jnp.sum(scores.logprobs)

    slopes = np.asarray(jax.jit(jax.grad(loss))(hidden))
    predicts = np.pad(np.asarray(mask)[:, 1:], ((0, 0), (0, 1)))
    assert not slopes[~predicts].any()
    assert slopes[predicts].any(axis=-1).all()


def test_logits_of_a_whole_batch_never_exist() -> None:
    """No intermediate value is as large as `[B, T, V]`."""
    table, hidden, ids, mask, temperature = inputs()
    vocab = 10_000
    table = jnp.zeros((vocab, D))

    def loss(hidden: Array) -> Array:
        return jnp.sum(
            response_scores(
                head, table, hidden, ids, mask, temperature, is_head_trained=False
            ).logprobs
        )

    largest = max(_sizes(jax.make_jaxpr(jax.grad(loss))(hidden).jaxpr))
    assert CHUNK * vocab <= largest < B * T * vocab


def _sizes(jaxpr: Any) -> list[int]:
    sizes = [1]
    for equation in jaxpr.eqns:
        sizes += [int(np.prod(getattr(out.aval, "shape", ()))) for out in equation.outvars]
        for inner in jaxprs_in_params(equation.params):
            sizes += _sizes(inner)
    return sizes
