"""DPO by credit: the gradient of the loss itself, however the batch is divided."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from learner_records import make_sample
from learner_runs import LORA, VOCAB, Run, config, finish
from policies import LENGTH, as_sampled, logprobs, served_params
from turn_records import make_turn

from clawjax.config import DpoConfig, Normalisation, ObjectiveConfig, PolicyLoss
from clawjax.learner import losses
from clawjax.learner.batching import Batch, make_batch
from clawjax.learner.credit import AdmittedTurn, Credited, CreditState, build_credit
from clawjax.learner.scoring import Scorer, policy_scores
from clawjax.learner.sequences import per_turn_sum
from clawjax.learner.step import TrainState, TrainStep
from clawjax.log.replay import to_sample
from clawjax.models.load import LoadedModel
from clawjax.models.transformer import Params
from clawjax.records import Sample, SamplingParams


@pytest.fixture(scope="module", params=["lora", "full"])
def step(
    request: pytest.FixtureRequest,
    tiny_model: LoadedModel,
    tmp_path_factory: pytest.TempPathFactory,
) -> TrainStep:
    """One for all of `DpoConfig`, which is in the credit."""
    learner = config(method=request.param, max_grad_norm=1e9, learning_rate=1e-3)
    return TrainStep(
        tiny_model,
        objective=dpo_objective(),
        learner=learner,
        failed_dir=tmp_path_factory.mktemp("failed"),
    )


def dpo_objective(**dpo: float) -> ObjectiveConfig:
    return ObjectiveConfig(
        name="dpo",
        policy_loss=PolicyLoss.reinforce,
        normalisation=Normalisation.turn_sum,
        kl_coef=0.0,
        dpo=DpoConfig(**dpo),
    )


def replies(*sizes: int, prompt: int, temperature: float = 0.8) -> list[Sample]:
    """Several to one prompt, of different lengths."""
    drawn = [
        make_sample(f"p{prompt}r{i}", prompt, size, seed=9 * prompt + i, vocab=VOCAB)
        for i, size in enumerate(sizes)
    ]
    asked = drawn[0].prompt_ids
    return [
        dataclasses.replace(reply, prompt_ids=asked, credit=None, temperature=temperature)
        for reply in drawn
    ]


def perturbed(state: TrainState) -> TrainState:
    """A policy that is not the base any more."""
    leaves, tree = jax.tree.flatten(state.trainable)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    moved = [
        leaf + 0.02 * jax.random.normal(key, leaf.shape)
        for leaf, key in zip(leaves, keys, strict=True)
    ]
    return state._replace(trainable=jax.tree.unflatten(tree, moved))


def batched(samples: Sequence[Sample], *, micro_batch_tokens: int) -> Batch:
    return make_batch(
        samples,
        version=5,  # no claim that the log-probs at hand are the current policy's
        length_buckets=[LENGTH],
        micro_batch_tokens=micro_batch_tokens,
        normalisation=Normalisation.turn_sum,
    )


def by_definition(
    step: TrainStep, state: TrainState, samples: Sequence[Sample], pairs: Sequence[tuple[str, str]],
    config: DpoConfig,
) -> tuple[float, Params]:  # fmt: skip
    """Value and gradient of the mean over pairs of `losses.dpo`, in one pass over all replies."""
    batch = batched(samples, micro_batch_tokens=len(samples) * LENGTH)
    (micro,), (spans,) = batch
    place = {span.turn_id: index for index, span in enumerate(spans)}
    chosen, rejected = np.array([[place[name] for name in pair] for pair in pairs]).T

    def pair_logprobs(per_token: jax.Array) -> losses.PairLogprobs:
        sums = per_turn_sum(per_token, jnp.asarray(micro.turn_ids), max_turns=len(spans))
        return losses.PairLogprobs(sums[chosen], sums[rejected])

    def loss(trainable: Params) -> jax.Array:
        policy = step.policy(state._replace(trainable=trainable))
        new = policy_scores(policy, micro, is_head_trained=True).logprobs
        base = policy_scores(step.base, micro, is_head_trained=False).logprobs
        per_pair = losses.dpo(pair_logprobs(new), pair_logprobs(base), **dataclasses.asdict(config))
        return jnp.mean(per_pair)

    value, slopes = jax.jit(jax.value_and_grad(loss))(state.trainable)
    return float(value), slopes


@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
def test_the_step_takes_the_gradient_of_the_loss_itself(
    step: TrainStep, label_smoothing: float
) -> None:
    objective = dpo_objective(beta=0.3, label_smoothing=label_smoothing)
    state = perturbed(step.init(0))
    samples = [*replies(9, 4, 6, prompt=5), *replies(3, 11, prompt=8)]
    scores = [1.0, -1.0, 0.5, -0.5, 0.5]
    pairs = [("p5r0", "p5r1"), ("p5r0", "p5r2"), ("p5r2", "p5r1"), ("p8r1", "p8r0")]
    value, expected = by_definition(step, state, samples, pairs, objective.dpo)

    result = credited(step, state, samples, scores, objective)
    assert result.metrics["train/dpo_loss"] == pytest.approx(value, rel=1e-5)
    assert abs(result.metrics["train/dpo_margin"]) > 0.1, "the policy is still the base"
    learnt = [
        dataclasses.replace(sample, credit=credit)
        for sample, credit in zip(samples, result.credit, strict=True)
    ]
    batch = batched(learnt, micro_batch_tokens=LENGTH)
    assert len(batch.micro_batches) > 2, "pairs are to be torn apart"
    after = step.run(state, [batch])
    # Adam's first moment after one step from 0 is the gradient times 1 - beta1.
    taken = optax.tree.get(after.state.opt_state, "mu")
    norm = float(optax.tree.norm(expected))
    gaps = jax.tree.map(lambda mu, grad: np.abs(np.asarray(mu) / 0.1 - grad).max(), taken, expected)
    assert norm > 0.01
    assert max(jax.tree.leaves(gaps)) < 5e-6 * norm
    assert after.metrics["train/grad_norm"] == pytest.approx(norm, rel=1e-5)


def credited(
    step: TrainStep, state: TrainState, samples: Sequence[Sample], scores: Sequence[float],
    objective: ObjectiveConfig,
) -> Credited:  # fmt: skip
    """As the loop does it."""
    scorer = Scorer(config())
    turns = [
        AdmittedTurn(
            make_turn(
                sample.turn_id,
                prompt_ids=sample.prompt_ids,
                response_ids=sample.response_ids,
                sampling=SamplingParams(max_response_tokens=64, temperature=sample.temperature),
            ),
            score,
            (),
            ready_at=0.0,
        )
        for sample, score in zip(samples, scores, strict=True)
    ]
    return build_credit(objective)(
        turns,
        CreditState(),
        lambda asked: scorer.log_ratios(
            [to_sample(turn, None) for turn in asked], policy=step.policy(state), base=step.base
        ),
    )


def test_chosen_becomes_likelier_and_rejected_less_likely(
    tiny_model: LoadedModel, tmp_path: Path, step: TrainStep
) -> None:
    method, lora = ("lora", LORA) if step.is_lora else ("full", None)
    run = Run(tmp_path, tiny_model, step, dpo_objective(beta=0.3))
    drawn = [*replies(6, 6, prompt=5), *replies(5, 9, prompt=8)]
    for sample, score in zip(sampled(run, drawn), [1.0, -1.0, -0.5, 0.5], strict=True):
        record(run, sample, score)
    learner = run.learner(method=method)
    assert learner.sweep()
    after = logprobs(tiny_model, served_params(tiny_model, learner.versions.state, lora), drawn)
    before = logprobs(tiny_model, tiny_model.params, drawn)
    changes = [float((b - a).sum()) for a, b in zip(before, after, strict=True)]
    assert [change > 0 for change in changes] == [True, False, False, True]
    ((_, metrics),) = run.monitor.entries
    assert metrics["train/dpo_pairs"] == 2
    assert metrics["train/dpo_loss"] == pytest.approx(np.log(2), abs=1e-4)
    assert run.monitor.texts[0]["train/terms"] == "L_dpo 4 turns"


def test_replies_without_a_partner_are_dropped_for_a_reason_and_none_is_lost(
    tiny_model: LoadedModel, tmp_path: Path, step: TrainStep
) -> None:
    run = Run(tmp_path, tiny_model, step, dpo_objective())
    drawn = [*replies(6, 6, prompt=5), *replies(5, prompt=8), *replies(5, prompt=9)]
    for sample, score in zip(sampled(run, drawn), [1.0, -1.0, 1.0, -1.0], strict=True):
        record(run, sample, score)
    finish(run.learner(method="lora" if step.is_lora else "full"))
    assert run.trained() == {"p5r0": 1, "p5r1": 1}
    assert run.log.counts().dropped == {"no_signal": 2}
    (texts,) = run.monitor.texts
    assert texts == {
        "train/objective": "L = mean_pairs[ -log sigmoid(h) ]",
        "train/terms": "L_dpo 2 turns (2 without a reply to compare with)",
    }


def sampled(run: Run, drawn: Sequence[Sample]) -> list[Sample]:
    return as_sampled(run.model, run.model.params, drawn, version=0)


def record(run: Run, sample: Sample, score: float) -> None:
    sampling = SamplingParams(max_response_tokens=64, temperature=sample.temperature)
    run.record(sample, score, sampling=sampling)
