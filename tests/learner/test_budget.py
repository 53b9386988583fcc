"""The drift budget: what it measures, and what it refuses."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from learner_records import make_sample

from clawjax.config import DriftConfig, LearnerConfig, LoraConfig, ObjectiveConfig
from clawjax.errors import ConfigError
from clawjax.evals.drift import Exchange, kl_from_base
from clawjax.evals.retention import nll_per_token
from clawjax.learner.budget import DriftBudget, _halvings
from clawjax.learner.decoder import unstack
from clawjax.learner.scoring import Model
from clawjax.learner.step import TrainStep
from clawjax.models.load import LoadedModel
from clawjax.models.lora import merge

SAMPLES = [
    make_sample(f"t{index}", 4, length, seed=index, vocab=200)
    for index, length in enumerate((9, 40, 3))
]
TEXT = np.random.default_rng(0).integers(0, 200, 600).tolist()
LORA = LoraConfig(rank=2, alpha=8.0)


@pytest.fixture(scope="module", params=["lora", "full"])
def moved(request: pytest.FixtureRequest, tiny_model: LoadedModel, tmp_path_factory):
    """Base and policy as the learner holds them, and the policy's parameters as served."""
    train_step = TrainStep(
        tiny_model,
        objective=ObjectiveConfig(),
        learner=LearnerConfig(method=request.param, lora=LORA),
        failed_dir=tmp_path_factory.mktemp("failed"),
    )
    state = train_step.init(0)
    rng = np.random.default_rng(1)
    trainable = jax.tree.map(
        lambda leaf: leaf + jnp.asarray(rng.normal(size=leaf.shape) * 0.02, jnp.float32),
        state.trainable,
    )
    served = unstack(trainable)
    if request.param == "lora":
        served = merge(tiny_model.params, served, LORA)
    policy = train_step.policy(train_step.restart(state, trainable, step=1))
    return train_step.base, policy, served


def budget(base: Model, **limits: float) -> DriftBudget:
    config = DriftConfig(**limits)  # pyright: ignore[reportArgumentType]
    return DriftBudget(config, base, fixed_text=TEXT, length_buckets=[20, 64])


def test_it_measures_what_evaluation_measures(moved, tiny_model: LoadedModel) -> None:
    base, policy, served = moved
    checked = budget(base, max_kl=100.0, max_nll_increase=100.0).check(policy, SAMPLES)
    exchanges = [Exchange(sample.prompt_ids, sample.response_ids) for sample in SAMPLES]
    kl = kl_from_base(tiny_model.architecture, served, tiny_model.params, exchanges)
    nll = [
        nll_per_token(tiny_model.architecture, params, TEXT)
        for params in (served, tiny_model.params)
    ]
    assert kl is not None
    assert kl.kl_per_token > 1e-4
    assert checked.metrics["drift/kl"] == pytest.approx(kl.kl_per_token, rel=1e-3)
    assert checked.metrics["drift/nll_increase"] == pytest.approx(nll[0] - nll[1], abs=1e-4)
    assert checked.refused is None


def test_what_passes_a_limit_is_refused_with_the_value_and_the_limit(moved) -> None:
    base, policy, _ = moved
    checked = budget(base, max_kl=1e-6).check(policy, SAMPLES)
    assert checked.refused == (
        f"KL to the base model is {checked.metrics['drift/kl']:.4g} nats per token, "
        "above learner.drift.max_kl=1e-06"
    )
    assert set(checked.metrics) == {"drift/kl"}


def test_the_base_is_within_any_budget(moved) -> None:
    base, _, _ = moved
    checked = budget(base, max_kl=1e-5, max_nll_increase=1e-5).check(base, SAMPLES)
    assert checked.refused is None


def test_what_is_not_a_number_is_refused(moved) -> None:
    base, policy, _ = moved
    broken = policy._replace(params=jax.tree.map(lambda leaf: leaf * jnp.nan, policy.params))
    checked = budget(base, max_kl=float("inf"), max_nll_increase=float("inf"))
    refused = checked.check(broken, SAMPLES).refused
    assert refused is not None
    assert "max_kl=inf; the fixed text" in refused


def test_so_many_replies_are_measured(moved) -> None:
    base, policy, _ = moved
    one = DriftConfig(max_kl=9.0, max_turns=1)
    chosen = DriftBudget(one, base, fixed_text=(), length_buckets=[64])
    of_one = chosen.check(policy, SAMPLES).metrics["drift/kl"]
    assert of_one == chosen.check(policy, SAMPLES[:1]).metrics["drift/kl"]
    assert of_one != budget(base, max_kl=9.0).check(policy, SAMPLES).metrics["drift/kl"]


@pytest.mark.parametrize("limit", ["max_kl", "max_nll_increase"])
def test_a_budget_that_refuses_everything_is_refused(limit: str) -> None:
    with pytest.raises(ConfigError, match=rf"learner.drift.{limit}=0.0 refuses every version"):
        DriftConfig(**{limit: 0.0})  # pyright: ignore[reportArgumentType]
    with pytest.raises(ConfigError, match="max_turns"):
        DriftConfig(max_turns=0)


@pytest.fixture(scope="module")
def step(tiny_model: LoadedModel, tmp_path_factory):
    """A learner's step, weights before an update and far behind it."""
    train_step = TrainStep(
        tiny_model,
        objective=ObjectiveConfig(),
        learner=LearnerConfig(lora=LORA),
        failed_dir=tmp_path_factory.mktemp("failed"),
    )
    rng = np.random.default_rng(2)
    before, after = (
        jax.tree.map(
            lambda leaf, size=size: (
                leaf + jnp.asarray(rng.normal(size=leaf.shape), jnp.float32) * size
            ),
            train_step.init(0).trainable,
        )
        for size in (0.02, 0.05)
    )
    return train_step, before, after


def shortened(step, max_kl: float):
    train_step, before, after = step
    return budget(train_step.base, max_step_reply_kl=1.0).shortened(
        before, after, max_kl=max_kl, model=train_step.model, samples=SAMPLES
    )


def test_a_step_within_its_limit_is_left_alone(step) -> None:
    _, _, after = step
    found = shortened(step, 100.0)
    chex.assert_trees_all_equal(found.trainable, after)
    assert found.metrics["drift/step_share"] == 1.0


def test_a_step_that_goes_too_far_is_shortened_on_its_way(step) -> None:
    _, before, after = step
    whole = shortened(step, 100.0).metrics["drift/step_reply_kl"]
    for part in (0.5, 0.1, 0.01):
        found = shortened(step, part * whole)
        share = found.metrics["drift/step_share"]
        assert 0.7 * part * whole <= found.metrics["drift/step_reply_kl"] <= part * whole
        expected = jax.tree.map(lambda a, b, share=share: a + share * (b - a), before, after)
        chex.assert_trees_all_close(found.trainable, expected, rtol=1e-6, atol=1e-7)


def test_the_policy_before_is_read_once_for_all_guesses(step, monkeypatch) -> None:
    whole = shortened(step, 100.0).metrics["drift/step_reply_kl"]
    train_step, before, after = step
    chosen = budget(train_step.base, max_step_reply_kl=1.0)
    read: list[int] = []
    guesses: list[int] = []
    states, kl = chosen._states, chosen._kl
    monkeypatch.setattr(chosen, "_states", lambda *args: read.append(1) or states(*args))
    monkeypatch.setattr(chosen, "_kl", lambda *args: guesses.append(1) or kl(*args))
    chosen.shortened(before, after, max_kl=0.01 * whole, model=train_step.model, samples=SAMPLES)
    assert len(read) == len(SAMPLES)
    assert len(guesses) >= 2 * len(SAMPLES)


def test_a_step_that_is_not_finite_is_not_taken_for_a_short_one(step) -> None:
    train_step, before, after = step
    broken = jax.tree.map(lambda leaf: leaf * jnp.nan, after)
    found = budget(train_step.base, max_step_reply_kl=0.1).shortened(
        before, broken, max_kl=0.1, model=train_step.model, samples=SAMPLES
    )
    assert found.metrics == {"drift/step_reply_kl": 0.0, "drift/step_share": 0.0}
    chex.assert_trees_all_equal(found.trainable, before)


@pytest.mark.parametrize(
    ("longest", "lengths"),
    [(2048, [128, 256, 512, 1024, 2048]), (1000, [128, 256, 512, 1024]), (48, [64])],
)
def test_lengths_to_pad_to_are_halves_of_the_longest(longest: int, lengths: list[int]) -> None:
    assert _halvings(longest) == lengths
