"""Losses against plain numpy, and what their gradients do to a likelihood."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from turn_layouts import by_turn, lay_out, random_turns

from clawjax.learner.losses import (
    PairLogprobs,
    cispo,
    clipped_surrogate,
    dpo,
    gspo,
    is_clipped,
    k1_kl,
    k2_kl,
    k3_kl,
    reinforce,
    sft,
)
from clawjax.learner.ratios import importance_ratio
from clawjax.learner.sequences import per_turn_sum

SHAPE = (2, 3)
LOGPROBS = hnp.arrays(np.float32, SHAPE, elements=st.floats(-8, 0, width=32))
ADVANTAGES = hnp.arrays(np.float32, SHAPE, elements=st.floats(-2, 2, width=32))
CLIP = {"clip_low": 0.2, "clip_high": 0.28}
jitted_surrogate = jax.jit(clipped_surrogate)
jitted_dpo = jax.jit(dpo)


@settings(deadline=None)
@given(LOGPROBS, LOGPROBS, ADVANTAGES)
def test_surrogate_against_numpy(new: np.ndarray, old: np.ndarray, a: np.ndarray) -> None:
    r = np.exp(new.astype(np.float64) - old)
    expected = -np.minimum(np.minimum(r, 2.0) * a, np.clip(r, 0.8, 1.28) * a)
    for surrogate in (clipped_surrogate, jitted_surrogate):
        actual = surrogate(jnp.asarray(new), old, a, ratio_cap=2.0, **CLIP)
        assert actual.shape == SHAPE
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


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


# --- dual clip ----------------------------------------------------------------------------------


@settings(deadline=None)
@given(LOGPROBS, LOGPROBS, ADVANTAGES)
def test_dual_clip_against_numpy(new: np.ndarray, old: np.ndarray, a: np.ndarray) -> None:
    r = np.exp(new.astype(np.float64) - old)
    plain = np.minimum(r * a, np.clip(r, 0.8, 1.28) * a)
    expected = -np.where(a < 0, np.maximum(plain, 3.0 * a), plain)
    for surrogate in (clipped_surrogate, jitted_surrogate):
        actual = surrogate(jnp.asarray(new), old, a, dual_clip=3.0, **CLIP)
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


def test_dual_clip_silences_only_complaints_far_up() -> None:
    ratio = jnp.asarray([2.9, 3.1, 2.9, 3.1])
    a = jnp.asarray([-1.0, -1.0, 1.0, 1.0])
    slopes = jax.grad(
        lambda x: jnp.sum(clipped_surrogate(x, jnp.zeros(4), a, dual_clip=3.0, **CLIP))
    )(jnp.log(ratio))
    np.testing.assert_allclose(slopes, [2.9, 0.0, 0.0, 0.0], rtol=1e-5)
    gone = is_clipped(ratio, a, dual_clip=3.0, **CLIP)
    np.testing.assert_array_equal(gone, np.asarray(slopes) == 0)


def test_a_cap_at_the_dual_clip_leaves_it_nothing_to_do() -> None:
    def slope(**bounds: float) -> float:
        def loss(x):
            return clipped_surrogate(x, jnp.zeros(()), jnp.asarray(-1.0), **CLIP, **bounds)

        return float(jax.grad(loss)(jnp.log(jnp.asarray(8.0))))

    assert slope(ratio_cap=3.0) == pytest.approx(3.0)
    assert slope(ratio_cap=3.0, dual_clip=3.0) == pytest.approx(3.0)
    assert slope(dual_clip=3.0) == 0.0


# --- cispo, reinforce, sft ----------------------------------------------------------------------


WEIGHTED = {
    "cispo": (
        lambda new, old, a: cispo(new, old, a, ratio_high=3.0),
        lambda r, w, a: np.minimum(r, 3.0) * a,
    ),
    "cispo_low": (
        lambda new, old, a: cispo(new, old, a, ratio_high=3.0, ratio_low=0.5),
        lambda r, w, a: np.clip(r, 0.5, 3.0) * a,
    ),
    "reinforce": (lambda new, old, a: reinforce(new, a), lambda r, w, a: a),
    "weighted": (lambda new, old, a: reinforce(new, a, weights=old), lambda r, w, a: w * a),
    "sft": (lambda new, old, a: sft(new), lambda r, w, a: np.ones_like(a)),
}


@pytest.mark.parametrize("name", WEIGHTED)
def test_weighted_log_likelihoods_against_numpy(name: str) -> None:
    """The gradient is what multiplies the log-prob: weights are constants."""
    loss, slope = WEIGHTED[name]
    rng = np.random.default_rng(0)
    new, old = -rng.exponential(1.5, (2, 4, 50)).astype(np.float32)
    a = rng.normal(size=new.shape).astype(np.float32)
    slopes = slope(np.exp(new.astype(np.float64) - old), old.astype(np.float64), a)
    for function in (loss, jax.jit(loss)):
        values = function(jnp.asarray(new), old, a)
        np.testing.assert_allclose(values, -slopes * new, rtol=1e-4, atol=1e-5)
        actual = jax.grad(lambda x, function=function: jnp.sum(function(x, old, a)))(new)
        np.testing.assert_allclose(actual, -slopes, rtol=1e-4, atol=1e-5)


def test_cispo_learns_from_tokens_that_the_clip_silences() -> None:
    new, a = jnp.log(jnp.asarray([8.0, 0.1])), jnp.asarray([1.0, -1.0])
    clipped = jax.grad(lambda x: jnp.sum(clipped_surrogate(x, jnp.zeros(2), a, **CLIP)))(new)
    kept = jax.grad(lambda x: jnp.sum(cispo(x, jnp.zeros(2), a, ratio_high=5.0)))(new)
    np.testing.assert_array_equal(clipped, [0.0, 0.0])
    np.testing.assert_allclose(kept, [-5.0, 0.1], rtol=1e-5)


# --- gspo ---------------------------------------------------------------------------------------

LENGTHS = [4, 1, 7, 3]
GSPO = {"max_turns": len(LENGTHS), "clip_low": 0.1, "clip_high": 0.15}


@pytest.mark.parametrize("function", [gspo, jax.jit(gspo, static_argnames="max_turns")])
def test_gspo_against_numpy(function) -> None:
    clipped = 0
    for seed in range(6):
        turns = random_turns(LENGTHS, seed)
        layout = lay_out(turns, [[2], [0, 1, 3]], length=14)
        arrays = [jnp.asarray(layout.arrays[name]) for name in ("new", "sampler", "advantages")]
        values = by_turn(function(*arrays, layout.turn_ids, **GSPO), layout.turn_ids)
        slopes = jax.grad(
            lambda new, rest=arrays[1:], ids=layout.turn_ids: jnp.sum(
                function(new, *rest, ids, **GSPO)
            )
        )(arrays[0])
        for turn, value, slope in zip(turns, values, by_turn(slopes, layout.turn_ids), strict=True):
            s = np.exp(np.mean(turn["new"].astype(np.float64) - turn["sampler"]))
            a = turn["advantages"].astype(np.float64)
            expected = np.minimum(s * a, np.clip(s, 0.9, 1.15) * a)
            np.testing.assert_allclose(value, -expected, rtol=1e-5)
            is_gone = s > 1.15 if a[0] > 0 else s < 0.9
            clipped += is_gone
            np.testing.assert_allclose(slope, 0 * a if is_gone else -s * a, rtol=1e-5)
    assert 0 < clipped < 6 * len(LENGTHS)


def test_gspo_averaged_over_a_turn_has_the_gradient_of_the_sequence_objective() -> None:
    (turn,) = random_turns([5], spread=0.05)
    layout = lay_out([turn], [[0]], length=6)
    new, sampler, a = (layout.arrays[name] for name in ("new", "sampler", "advantages"))
    mask = layout.turn_ids > 0

    def sequence(new):
        s = jnp.exp(jnp.sum(jnp.where(mask, new - sampler, 0.0)) / 5)
        return -s * turn["advantages"][0]

    def tokens(new):
        bounds = {**GSPO, "clip_low": 1.0, "clip_high": 9.0}
        return jnp.sum(jnp.where(mask, gspo(new, sampler, a, layout.turn_ids, **bounds), 0.0)) / 5

    at = jnp.asarray(new)
    np.testing.assert_allclose(tokens(at), sequence(at), rtol=1e-6)
    np.testing.assert_allclose(jax.grad(tokens)(at), jax.grad(sequence)(at), rtol=1e-5)


def test_gspo_of_one_token_turns_is_the_token_surrogate() -> None:
    turns = random_turns([1, 1, 1], seed=4)
    layout = lay_out(turns, [[0, 1, 2]], length=7)
    arrays = [layout.arrays[name] for name in ("new", "sampler", "advantages")]
    of_turn = gspo(*arrays, layout.turn_ids, max_turns=3, **CLIP)
    of_token = clipped_surrogate(*arrays, **CLIP)
    for left, right in zip(
        *(by_turn(x, layout.turn_ids) for x in (of_turn, of_token)), strict=True
    ):
        np.testing.assert_allclose(left, right, rtol=1e-6)


# --- every policy loss --------------------------------------------------------------------------

POLICY_LOSSES = {
    "clipped": lambda new, old, a, ids: clipped_surrogate(new, old, a, **CLIP),
    "dual": lambda new, old, a, ids: clipped_surrogate(new, old, a, dual_clip=3.0, **CLIP),
    "cispo": lambda new, old, a, ids: cispo(new, old, a, ratio_high=5.0),
    "gspo": lambda new, old, a, ids: gspo(new, old, a, ids, **GSPO),
    "reinforce": lambda new, old, a, ids: reinforce(new, a),
}


@pytest.mark.parametrize("name", POLICY_LOSSES)
def test_on_policy_every_policy_loss_has_the_same_gradient(name: str) -> None:
    layout = lay_out(random_turns(LENGTHS), [[2], [0, 1, 3]], length=14)
    new, a = jnp.asarray(layout.arrays["new"]), layout.arrays["advantages"]
    slopes = jax.grad(lambda x: jnp.sum(POLICY_LOSSES[name](x, new, a, layout.turn_ids)))(new)
    np.testing.assert_allclose(slopes, -a, rtol=1e-6)  # praise: up; complaint: down


@pytest.mark.parametrize("name", POLICY_LOSSES)
def test_tokens_without_weight_get_no_gradient(name: str) -> None:
    layout = lay_out(random_turns(LENGTHS), [[2], [0, 1, 3]], length=14)
    new, old = jnp.asarray(layout.arrays["new"]), layout.arrays["sampler"]
    weights = jnp.asarray(layout.turn_ids == 3, jnp.float32)
    a = np.ones_like(old)

    def loss(x):
        return jnp.sum(weights * POLICY_LOSSES[name](x, old, a, layout.turn_ids))

    assert not np.asarray(jax.grad(loss)(new))[layout.turn_ids != 3].any()


@pytest.mark.parametrize("name", POLICY_LOSSES)
def test_how_turns_are_laid_out_does_not_matter(name: str) -> None:
    turns = random_turns(LENGTHS, seed=5)
    results = []
    for rows in ([[0], [1], [2], [3]], [[2, 0], [3, 1]], [[1, 3, 0, 2]]):
        layout = lay_out(turns, rows, length=20)
        ids = layout.turn_ids
        new, old, a = (jnp.asarray(layout.arrays[key]) for key in ("new", "sampler", "advantages"))
        values, pull = jax.vjp(
            lambda x, old=old, a=a, ids=ids: POLICY_LOSSES[name](x, old, a, ids), new
        )
        (slopes,) = pull(jnp.asarray(ids > 0, jnp.float32))
        results.append(np.concatenate(by_turn(values, ids) + by_turn(slopes, ids)))
    for other in results[1:]:
        np.testing.assert_allclose(other, results[0], rtol=1e-5)


# --- pairs --------------------------------------------------------------------------------------

PAIRS = hnp.arrays(np.float32, (4, 3), elements=st.floats(-60, 0, width=32))


def pairs_of(sums: np.ndarray) -> tuple[PairLogprobs, PairLogprobs]:
    new_chosen, new_rejected, base_chosen, base_rejected = (jnp.asarray(row) for row in sums)
    return PairLogprobs(new_chosen, new_rejected), PairLogprobs(base_chosen, base_rejected)


@settings(deadline=None)
@given(PAIRS, st.sampled_from([0.0, 0.1]))
def test_dpo_against_numpy(sums: np.ndarray, label_smoothing: float) -> None:
    chosen, rejected = sums[:2].astype(np.float64) - sums[2:]
    h = 0.1 * (chosen - rejected)
    e = label_smoothing
    expected = (1 - e) * np.log1p(np.exp(-h)) + e * np.log1p(np.exp(h))
    for function in (dpo, jitted_dpo):
        actual = function(*pairs_of(sums), beta=0.1, label_smoothing=e)
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


def test_dpo_prefers_the_chosen_reply_and_leaves_the_base_alone() -> None:
    sums = np.array([[-9.0], [-5.0], [-8.0], [-6.0]], np.float32)

    def loss(new, base):
        return jnp.sum(dpo(new, base, beta=0.5))

    new, base = pairs_of(sums)
    at_new, at_base = jax.grad(loss, argnums=(0, 1))(new, base)
    h = 0.5 * (-1.0 - 1.0)
    pull = 0.5 / (1 + np.exp(h))
    np.testing.assert_allclose([at_new.chosen[0], at_new.rejected[0]], [-pull, pull], rtol=1e-5)
    assert not np.any(at_base.chosen)
    assert not np.any(at_base.rejected)
    np.testing.assert_allclose(dpo(base, base, beta=0.5), np.log(2.0), rtol=1e-6)


def test_dpo_from_packed_turns() -> None:
    turns = random_turns([3, 5])
    layout = lay_out(turns, [[0, 1]], length=12)
    sums = {
        name: per_turn_sum(layout.arrays[name], layout.turn_ids, max_turns=2)
        for name in ("new", "sampler")
    }
    pairs = (PairLogprobs(values[:1], values[1:]) for values in sums.values())
    by_hand = [turn["new"].sum() - turn["sampler"].sum() for turn in turns]
    expected = np.log1p(np.exp(-0.1 * (by_hand[0] - by_hand[1])))
    np.testing.assert_allclose(dpo(*pairs, beta=0.1), [expected], rtol=1e-5)


# --- distance to the base -----------------------------------------------------------------------

KL_ESTIMATES = {
    k1_kl: lambda d: -d,
    k2_kl: lambda d: d**2 / 2,
    k3_kl: lambda d: np.exp(d) - 1 - d,
}
JITTED_KL = {estimate: jax.jit(estimate) for estimate in KL_ESTIMATES}


@settings(deadline=None)
@given(LOGPROBS, LOGPROBS)
def test_kl_estimates_against_numpy(new: np.ndarray, base: np.ndarray) -> None:
    d = base.astype(np.float64) - new
    for estimate, expected in KL_ESTIMATES.items():
        for function in (estimate, JITTED_KL[estimate]):
            actual = function(jnp.asarray(new), jnp.asarray(base))
            np.testing.assert_allclose(actual, expected(d), rtol=1e-4, atol=1e-5)
            assert estimate is k1_kl or (np.asarray(actual) >= -1e-6).all()


def kl_case() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.dirichlet(np.ones(6)), rng.dirichlet(np.ones(6))


@pytest.mark.parametrize("estimate", [k1_kl, k3_kl])
def test_k1_and_k3_average_to_the_kl(estimate) -> None:
    p, q = kl_case()
    mean = float((p * np.asarray(estimate(jnp.log(p), jnp.log(q)))).sum())
    assert mean == pytest.approx(float((p * np.log(p / q)).sum()), rel=1e-4)


def test_what_each_estimate_minimises() -> None:
    """Over tokens of the policy, on average: nothing, KL(new || base), KL(base || new)."""
    p, q = kl_case()

    def slopes(estimate):
        def expected(logits):
            logprobs = jax.nn.log_softmax(logits)
            return jnp.sum(p * estimate(logprobs, jnp.log(q)))

        return jax.grad(expected)(jnp.log(p))

    of_reverse = p * (np.log(p / q) - (p * np.log(p / q)).sum())
    np.testing.assert_allclose(slopes(k1_kl), 0.0, atol=1e-6)
    np.testing.assert_allclose(slopes(k2_kl), of_reverse, atol=1e-6)
    np.testing.assert_allclose(slopes(k3_kl), p - q, atol=1e-6)


@pytest.mark.parametrize("estimate", KL_ESTIMATES)
def test_far_from_the_base_a_kl_pulls_no_less(estimate) -> None:
    d = jnp.asarray([-1e4, -30.0, -19.0, 19.0, 21.0, 1e4])
    values, pull = jax.vjp(lambda new: estimate(new, d), jnp.zeros(6))
    (slopes,) = pull(jnp.ones(6))
    near = np.minimum(np.float64(d), 20.0)  # beyond it the exponential is its tangent
    expected = {k1_kl: np.ones(6), k2_kl: -np.float64(d), k3_kl: 1.0 - np.exp(near)}
    np.testing.assert_allclose(slopes, expected[estimate], rtol=1e-4)
    line = np.exp(near) * (1 + d - near) - 1 - d
    wanted = line if estimate is k3_kl else KL_ESTIMATES[estimate](np.float64(d))
    np.testing.assert_allclose(values, wanted, rtol=1e-4)


@pytest.mark.parametrize("estimate", KL_ESTIMATES)
def test_at_the_base_the_kl_is_exactly_zero_and_nothing_reaches_the_base(estimate) -> None:
    new, base = jnp.asarray([-0.3, -7.0]), jnp.asarray([-0.5, -1.0])
    np.testing.assert_array_equal(estimate(new, new), [0.0, 0.0])
    slopes = jax.grad(lambda b: jnp.sum(estimate(new, b)))(base)
    np.testing.assert_array_equal(slopes, [0.0, 0.0])
    assert jnp.isfinite(estimate(jnp.asarray([0.0, -1e4]), jnp.asarray([-1e4, 0.0]))).all()
