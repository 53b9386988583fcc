"""The loss of replies drawn from a filtered distribution; clips, masks and corrections."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from policies import logprobs, served_params
from term_steps import BINARY, LORA, OPD, Loss, batch, scored, step_for, taught

from clawjax.config import (
    AGAINST_ITSELF,
    OffPolicyConfig,
    OffPolicyPreset,
    PolicyLoss,
)
from clawjax.models.load import LoadedModel
from clawjax.records import Sample

ALLOWED = [
    *((PolicyLoss.clipped, preset) for preset in OffPolicyPreset),
    *(
        (loss, preset)
        for loss in (PolicyLoss.gspo, PolicyLoss.cispo)
        for preset in OffPolicyPreset
        if preset not in AGAINST_ITSELF
    ),
    *((PolicyLoss.reinforce, preset) for preset in AGAINST_ITSELF),
]
"""Losses and corrections that go together."""


def filtered(sample: Sample, share: float) -> Sample:
    """The same reply, of a sampler that kept this share of the policy's mass at each token."""
    kept = np.float32(sample.sampler_logprobs) - np.float32(np.log(share))
    return dataclasses.replace(sample, sampler_logprobs=tuple(kept.tolist()), is_truncated=True)


@pytest.mark.parametrize(("policy_loss", "preset"), ALLOWED)
def test_on_policy_every_loss_and_correction_has_the_plain_policy_gradient(
    samples: list[Sample], policy_loss: PolicyLoss, preset: OffPolicyPreset
) -> None:
    off_policy = OffPolicyConfig(preset=preset)
    objective = dataclasses.replace(BINARY, policy_loss=policy_loss, off_policy=off_policy)
    loss = Loss([scored(samples[0], 1.0), scored(samples[1], -0.5)], objective)
    slopes, _ = jax.grad(loss, has_aux=True)(loss.micro.sampler_logprobs)
    plain = -loss.micro.rl_weights * loss.micro.advantages
    np.testing.assert_allclose(slopes, plain, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("policy_loss", [PolicyLoss.clipped, PolicyLoss.gspo])
@pytest.mark.parametrize(
    "preset", [OffPolicyPreset.none, OffPolicyPreset.seq_mask, OffPolicyPreset.geo_mask]
)
def test_of_filtered_replies_complaints_teach_as_much_as_praise(
    samples: list[Sample], policy_loss: PolicyLoss, preset: OffPolicyPreset
) -> None:
    """The filter left 0.7 of the policy's mass at each token, below the lower clip."""
    objective = dataclasses.replace(
        BINARY, policy_loss=policy_loss, off_policy=OffPolicyConfig(preset=preset, low=0.0)
    )
    slopes = {}
    for advantage in (1.0, -1.0):
        loss = Loss([scored(filtered(samples[0], 0.7), advantage)], objective)
        at = loss.sampled + np.log(0.7) * loss.micro.response_mask
        slopes[advantage], sums = jax.grad(loss, has_aux=True)(at)
        assert float(sums.clipped) == 0
        np.testing.assert_allclose(
            slopes[advantage], -0.7 * advantage * loss.micro.rl_weights, rtol=1e-5
        )
    np.testing.assert_array_equal(slopes[1.0], -slopes[-1.0])


@pytest.mark.parametrize("advantage", [1.0, -0.5])
@pytest.mark.parametrize("policy_loss", [PolicyLoss.clipped, PolicyLoss.gspo])
def test_a_filter_that_filtered_nothing_changes_nothing(
    samples: list[Sample], policy_loss: PolicyLoss, advantage: float
) -> None:
    objective = dataclasses.replace(BINARY, policy_loss=policy_loss)
    plain, other = (
        Loss([scored(sample, advantage)], objective)
        for sample in (samples[0], filtered(samples[0], 1.0))
    )
    (value, _), slopes = jax.value_and_grad(plain, has_aux=True)(plain.sampled)
    (expected, _), wanted = jax.value_and_grad(other, has_aux=True)(other.sampled)
    np.testing.assert_array_equal(value, expected)
    np.testing.assert_array_equal(slopes, wanted)


@pytest.mark.parametrize("policy_loss", [PolicyLoss.cispo, PolicyLoss.reinforce, PolicyLoss.sft])
def test_where_nothing_is_clipped_a_filter_is_no_weight(
    samples: list[Sample], policy_loss: PolicyLoss
) -> None:
    objective = dataclasses.replace(BINARY)
    objective.policy_loss = policy_loss  # as DPO and SFT have it, whatever else they ask for
    plain = Loss([scored(samples[0], -1.0)], objective)
    marked = Loss([scored(dataclasses.replace(samples[0], is_truncated=True), -1.0)], objective)
    for shift in (-0.3, 0.0, 0.9):
        slopes, wanted = (
            jax.grad(loss, has_aux=True)(loss.sampled + shift)[0] for loss in (marked, plain)
        )
        np.testing.assert_array_equal(slopes, wanted)
        assert np.asarray(slopes).any()


def test_of_filtered_replies_a_teacher_is_followed_both_ways(samples: list[Sample]) -> None:
    for gap in (1.0, -1.0):
        loss = Loss([filtered(taught(samples[0], gap), 0.7)], OPD)
        at = loss.sampled + np.log(0.7) * loss.micro.response_mask
        slopes, _ = jax.grad(loss, has_aux=True)(at)
        np.testing.assert_allclose(slopes, -0.7 * gap * loss.micro.opd_weights, rtol=1e-4)


def test_a_mask_silences_what_is_out_of_bounds(samples: list[Sample]) -> None:
    off_policy = OffPolicyConfig(preset=OffPolicyPreset.icepop)
    loss = Loss([scored(samples[0], 1.0)], dataclasses.replace(BINARY, off_policy=off_policy))
    is_far = np.asarray(loss.micro.response_mask & (loss.micro.positions % 2 == 0))
    at = loss.micro.sampler_logprobs + jnp.where(is_far, 2.0, 0.0)
    slopes, sums = jax.grad(loss, has_aux=True)(at)
    assert not np.asarray(slopes)[is_far].any()
    assert float(sums.clipped) == float(is_far.sum()) > 0


def test_decoupled_is_tis_in_the_first_step_of_an_update_and_not_after_it(
    tiny_model: LoadedModel, tmp_path: Path, samples: list[Sample]
) -> None:
    def moved(preset: OffPolicyPreset, parts: int) -> list[np.ndarray]:
        correction = OffPolicyConfig(preset=preset, cap=1.2)
        step = step_for(tiny_model, tmp_path, dataclasses.replace(BINARY, off_policy=correction))
        turns = [scored(samples[0], 1.0), scored(samples[0], 1.0)]
        state = step.run(step.init(0), [batch(turns)] * parts).state
        return [np.asarray(leaf) for leaf in jax.tree.leaves(state.trainable)]

    def distance(parts: int) -> float:
        pairs = zip(
            moved(OffPolicyPreset.tis, parts), moved(OffPolicyPreset.decoupled, parts), strict=True
        )
        return max(float(np.abs(tis - decoupled).max()) for tis, decoupled in pairs)

    assert distance(1) == pytest.approx(0.0, abs=1e-7)
    assert distance(4) > 1e-4


def test_of_filtered_replies_a_clip_bounds_the_update(
    tiny_model: LoadedModel, tmp_path: Path, samples: list[Sample]
) -> None:
    """Complaints, again and again: learnt from, and only as far as from the update's start."""

    def moved(preset: OffPolicyPreset, steps: int) -> dict[str, float]:
        objective = dataclasses.replace(BINARY, off_policy=OffPolicyConfig(preset=preset))
        step = step_for(tiny_model, tmp_path, objective)
        turns = [scored(filtered(samples[0], 0.7), -1.0), scored(samples[1], 0.0)]
        result = step.run(step.init(0), [batch(turns), *[batch(turns[:1])] * (steps - 1)])
        params = served_params(tiny_model, result.state, LORA)
        before, after = (
            logprobs(tiny_model, p, turns)[0].mean() for p in (tiny_model.params, params)
        )
        return {"way": after - before, **result.metrics}

    one, many = (moved(OffPolicyPreset.none, steps) for steps in (1, 12))
    assert one["way"] < -1e-3
    assert many["train/clip_fraction"] > 0.1
    assert many["way"] == pytest.approx(moved(OffPolicyPreset.decoupled, 12)["way"], rel=1e-3)
    assert moved(OffPolicyPreset.tis, 12)["way"] < 1.1 * many["way"], "which has no such bound"
