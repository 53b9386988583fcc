from __future__ import annotations

from collections.abc import Sequence

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from clawjax.engine.sampling import (
    Drawn,
    SamplingRows,
    idle_rows,
    invert,
    no_mask,
    sample,
    truncated,
)

VOCAB = 32
ROWS = 3
MANY = 5_000

sample_jit = jax.jit(sample)
truncated_jit = jax.jit(truncated)


def rows(
    temperature: Sequence[float] | float = 1.0,
    top_k: Sequence[int] | int = 0,
    top_p: Sequence[float] | float = 1.0,
    min_p: Sequence[float] | float = 0.0,
    *,
    seeds: Sequence[int] | int = 0,
    steps: Sequence[int] | int = 0,
    top_logprobs: int = 0,
    count: int = ROWS,
) -> SamplingRows[np.ndarray]:
    def column(value: object, dtype: type) -> np.ndarray:
        return np.broadcast_to(np.asarray(value, dtype), (count,)).copy()

    low = column(seeds, np.uint32)
    return SamplingRows(
        column(temperature, np.float32),
        column(top_k, np.int32),
        column(top_p, np.float32),
        column(min_p, np.float32),
        np.stack([np.zeros_like(low), low], axis=1),
        column(steps, np.int32),
        column(top_logprobs, np.int32),
    )


def draw(logits: np.ndarray, parameters: SamplingRows[np.ndarray]) -> Drawn[np.ndarray]:
    return jax.device_get(sample_jit(logits, parameters))


def log_softmax(x: np.ndarray) -> np.ndarray:
    shifted = x.astype(np.float64) - x.max()
    return shifted - np.log(np.exp(shifted).sum())


def reference(
    logits: np.ndarray, temperature: float, top_k: int, top_p: float, min_p: float
) -> np.ndarray:
    """Probabilities of one row by sorting, in double precision."""
    probs = np.exp(log_softmax(logits.astype(np.float64) / temperature))
    order = np.argsort(-probs, kind="stable")
    kept = np.zeros(len(probs), bool)
    head = order[: top_k or len(order)]
    renormalised = probs[head] / probs[head].sum()
    before = np.cumsum(renormalised) - renormalised
    kept[head[before < top_p] if top_p < 1 else head] = True
    kept &= probs >= min_p * probs.max()
    return np.where(kept, probs, 0) / probs[kept].sum()


# Distinct logits, apart by far more than rounding, so that no tie decides.
LOGITS = st.permutations(range(VOCAB)).map(
    lambda order: (np.asarray(order, np.float32) * 0.37 - 5).astype(np.float32)
)


@settings(deadline=None, max_examples=60)
@given(
    LOGITS,
    st.sampled_from([0.3, 0.7, 1.0, 2.0]),
    st.integers(0, VOCAB + 3),
    st.sampled_from([0.05, 0.33, 0.9, 0.999, 1.0]),
    st.sampled_from([0.0, 0.011, 0.3, 0.99]),
)
def test_truncation_is_the_sorted_one(
    logits: np.ndarray, temperature: float, top_k: int, top_p: float, min_p: float
) -> None:
    expected = reference(logits, temperature, top_k, top_p, min_p)
    scaled = np.tile(logits / np.float32(temperature), (ROWS, 1))
    kept = truncated_jit(scaled, rows(temperature, top_k, top_p, min_p))
    probs = np.asarray(jax.nn.softmax(kept, axis=-1))[0]
    assert probs.sum() == pytest.approx(1, abs=1e-5)
    assert ((probs > 0) == (expected > 0)).all()
    np.testing.assert_allclose(probs, expected, atol=1e-5)


@settings(deadline=None, max_examples=40)
@given(LOGITS, st.integers(0, 1000), st.integers(1, 6), st.sampled_from([0.4, 1.0, 1.7]))
def test_a_drawn_token_is_allowed_and_its_logprob_is_renormalised(
    logits: np.ndarray, seed: int, top_k: int, temperature: float
) -> None:
    drawn = draw(np.tile(logits, (ROWS, 1)), rows(temperature, top_k, seeds=range(seed, seed + 3)))
    expected = reference(logits, temperature, top_k, 1.0, 0.0)
    for row in range(ROWS):
        token = drawn.token[row]
        assert expected[token] > 0
        assert drawn.logprob[row] == pytest.approx(np.log(expected[token]), abs=1e-4)
        assert drawn.logprob_t1[row] == pytest.approx(log_softmax(logits)[token], abs=1e-4)


@settings(deadline=None, max_examples=40)
@given(
    arrays(np.float32, (ROWS, VOCAB), elements=st.floats(-20, 20, width=32, allow_subnormal=False))
)
def test_greedy_takes_the_likeliest_and_reports_temperature_one(logits: np.ndarray) -> None:
    drawn = draw(logits, rows(0.0, top_k=2, top_p=0.5))
    assert (drawn.token == logits.argmax(axis=1)).all()
    np.testing.assert_array_equal(drawn.logprob, drawn.logprob_t1)


def test_without_filters_at_temperature_one_both_logprobs_agree() -> None:
    logits = np.random.default_rng(0).normal(size=(ROWS, VOCAB)).astype(np.float32)
    drawn = draw(logits, rows(seeds=[1, 2, 3]))
    np.testing.assert_allclose(drawn.logprob, drawn.logprob_t1, atol=1e-6)


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p", "min_p"),
    [(1.0, 0, 1.0, 0.0), (0.7, 0, 1.0, 0.0), (1.3, 8, 0.8, 0.0), (1.0, 0, 1.0, 0.2)],
)
def test_frequencies_follow_the_distribution(
    temperature: float, top_k: int, top_p: float, min_p: float
) -> None:
    logits = np.random.default_rng(3).normal(scale=1.5, size=VOCAB).astype(np.float32)
    parameters = rows(temperature, top_k, top_p, min_p, seeds=7, steps=range(MANY), count=MANY)
    token = draw(np.tile(logits, (MANY, 1)), parameters).token
    expected = reference(logits, temperature, top_k, top_p, min_p) * MANY
    observed = np.bincount(token, minlength=VOCAB)
    possible = expected > 0
    assert observed[~possible].sum() == 0
    chi_square = ((observed - expected)[possible] ** 2 / expected[possible]).sum()
    assert chi_square < 62  # the 0.999 quantile at 31 degrees of freedom


def test_a_large_vocabulary_is_drawn_from_as_a_whole() -> None:
    size = 700  # several tokens share a lane, and the last ones do not fill theirs
    weights = np.arange(1.0, size + 1)
    logits = np.log(weights / weights.sum()).astype(np.float32) + 40
    logits[[0, 256, 512]] = -np.inf  # a lane that holds nothing
    token = draw(np.tile(logits, (MANY, 1)), rows(seeds=3, steps=range(MANY), count=MANY)).token
    weights[[0, 256, 512]] = 0
    assert not set(token.tolist()) & {0, 256, 512}
    assert token.max() < size
    tenths = np.bincount(token * 10 // size, minlength=10)
    expected = weights.reshape(10, -1).sum(axis=1) / weights.sum() * MANY
    assert ((tenths - expected) ** 2 / expected).sum() < 28  # the 0.999 quantile at 9 degrees


def test_rounding_never_draws_what_has_no_weight() -> None:
    weights = np.asarray([[0, 1, 0, 2, 0]], np.float32)
    for chance in (0.0, 0.3, 1 / 3, 0.34, 1 - 2**-24, 1.0):
        (index,) = np.asarray(invert(np.asarray([chance], np.float32), weights))
        assert weights[0, index] > 0
    ends = [int(invert(np.asarray([chance], np.float32), weights)[0]) for chance in (0.0, 1.0)]
    assert ends == [1, 3]


def test_the_first_of_equal_logits_is_the_likeliest() -> None:
    logits = np.zeros((2, 600), np.float32)
    logits[0, [599, 300, 45]] = 2.0
    logits[1] = -np.inf
    logits[1, 599] = -3.0
    assert draw(logits, rows(0.0, count=2)).token.tolist() == [45, 599]


def test_a_draw_depends_on_seed_and_step_only() -> None:
    logits = np.random.default_rng(5).normal(size=(1, VOCAB)).astype(np.float32)
    alone = draw(np.tile(logits, (ROWS, 1)), rows(seeds=9, steps=4))
    others = np.concatenate([logits * 3, logits, -logits])
    among = draw(others, rows([0.0, 1.0, 0.5], [0, 0, 3], seeds=[1, 9, 2], steps=[7, 4, 0]))
    assert among.token[1] == alone.token[0]
    assert among.logprob[1] == pytest.approx(alone.logprob[0], abs=1e-6)
    tokens = draw(np.tile(logits, (MANY, 1)), rows(seeds=9, steps=range(MANY), count=MANY)).token
    assert len(set(tokens.tolist())) > 10
    seeded = draw(np.tile(logits, (MANY, 1)), rows(seeds=range(MANY), steps=4, count=MANY)).token
    assert len(set(seeded.tolist())) > 10


def test_ties_with_the_last_one_kept_are_kept() -> None:
    logits = np.zeros((ROWS, VOCAB), np.float32)
    logits[:, 3] = 1
    kept = np.asarray(truncated_jit(logits, rows(top_k=2)))
    assert np.isfinite(kept).all()


def test_a_truncated_neighbour_leaves_a_row_whole() -> None:
    logits = np.random.default_rng(1).normal(size=(ROWS, VOCAB)).astype(np.float32)
    kept = np.asarray(truncated_jit(logits, rows(top_k=[0, 1, 0])))
    assert np.isfinite(kept).sum(axis=1).tolist() == [VOCAB, 1, VOCAB]


def test_alternatives_are_the_likeliest_at_temperature_one() -> None:
    logits = np.random.default_rng(2).normal(size=(ROWS, VOCAB)).astype(np.float32)
    drawn = draw(logits, rows(0.2, top_k=1, top_logprobs=5))
    order = np.argsort(-logits[0])[:20]
    assert drawn.top_ids[0].tolist() == order.tolist()
    np.testing.assert_allclose(drawn.top_logprobs[0], log_softmax(logits[0])[order], atol=1e-5)
    assert not draw(logits, rows()).top_ids.any()


def test_idle_rows_are_greedy() -> None:
    logits = np.random.default_rng(2).normal(size=(ROWS, VOCAB)).astype(np.float32)
    assert (draw(logits, idle_rows(ROWS)).token == logits.argmax(axis=1)).all()


@pytest.mark.parametrize("temperature", [0.0, 0.5, 1.0])
def test_a_mask_renormalises_and_leaves_the_others_alone(temperature: float) -> None:
    rng = np.random.default_rng(5)
    logits = rng.normal(0, 3, (2, VOCAB)).astype(np.float32)
    allowed = [3, 17, 31]
    mask = no_mask(2, VOCAB)
    mask[0, 0] = np.uint32(sum(1 << token for token in allowed)).astype(np.int32)
    parameters = rows(temperature, seeds=[8, 9], count=2)
    plain, masked = draw(logits, parameters), jax.device_get(sample_jit(logits, parameters, mask))
    chosen = int(masked.token[0])
    assert chosen in allowed
    cut = log_softmax(logits[0, allowed] / (temperature or 1.0))
    np.testing.assert_allclose(masked.logprob[0], cut[allowed.index(chosen)], atol=1e-5)
    np.testing.assert_allclose(masked.logprob_t1[0], log_softmax(logits[0])[chosen], atol=1e-5)
    if temperature == 0:
        assert chosen == allowed[int(np.argmax(logits[0, allowed]))]
    for of_plain, of_masked in zip(plain, masked, strict=True):
        np.testing.assert_allclose(of_plain[1], of_masked[1], atol=1e-6)


def test_filters_count_what_the_mask_leaves() -> None:
    logits = np.zeros((1, VOCAB), np.float32)
    logits[0, :4] = [9, 8, 2, 1]
    mask = no_mask(1, VOCAB)
    mask[0, 0] = 0b1100
    for seed in range(20):
        drawn = sample_jit(logits, rows(top_k=1, seeds=seed, count=1), mask)
        assert (int(drawn.token[0]), float(drawn.logprob[0])) == (2, 0.0)
