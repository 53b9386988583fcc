"""Which turns feed which term of the loss, and where each term pulls."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax
import numpy as np
import pytest
from policies import logprobs, served_params
from term_steps import BINARY, LORA, OPD, Loss, batch, scored, step_for, taught

from clawjax.config import (
    KlEstimator,
    Normalisation,
    ObjectiveConfig,
    OpdConfig,
    OpdForm,
    Teacher,
)
from clawjax.learner.batching import make_batch
from clawjax.learner.diagnostics import mean_over_steps, step_metrics, zeros
from clawjax.learner.scoring import Scorer
from clawjax.learner.step import StepResult, TrainStep
from clawjax.models.load import LoadedModel
from clawjax.records import Sample, TeacherSays

COMBINED = ObjectiveConfig(name="combined", w_opd=1.0, kl_coef=0.0)


def run(step: TrainStep, samples: list[Sample], *, support: int = 0) -> StepResult:
    return step.run(step.init(0), [batch(samples, support=support)])


@pytest.mark.parametrize("method", ["lora", "full"])
def test_the_policy_moves_towards_the_hinted_teacher(
    tiny_model: LoadedModel, tmp_path: Path, samples: list[Sample], method: str
) -> None:
    step = step_for(tiny_model, tmp_path, OPD, method)
    gap = np.where(np.arange(len(samples[1].response_ids)) % 2, 2.0, -2.0)
    lesson = taught(samples[1], gap)
    result = run(step, [lesson])
    params = served_params(tiny_model, result.state, LORA if method == "lora" else None)
    moved = logprobs(tiny_model, params, [lesson])[0] - np.array(lesson.sampler_logprobs)
    assert float(np.mean(moved * np.sign(gap))) > 0.005
    assert result.metrics["train/teacher_gap"] == pytest.approx(float(gap.mean()), abs=1e-3)


def test_a_teacher_of_the_same_mind_teaches_nothing(
    tiny_model: LoadedModel, tmp_path: Path, samples: list[Sample]
) -> None:
    metrics = run(step_for(tiny_model, tmp_path, OPD), [taught(s, 0.0) for s in samples]).metrics
    assert metrics["train/opd_loss"] == pytest.approx(0.0, abs=1e-4)
    assert metrics["train/grad_norm"] < 1e-3


def test_differences_are_clipped(
    tiny_model: LoadedModel, tmp_path: Path, samples: list[Sample]
) -> None:
    step = step_for(tiny_model, tmp_path, OPD)
    one = run(step, [taught(samples[0], 4.0)]).metrics
    other = run(step, [taught(samples[0], 40.0)]).metrics
    for name in ("train/opd_loss", "train/grad_norm"):
        assert one[name] == pytest.approx(other[name], rel=1e-4)


def test_a_turn_takes_part_in_the_terms_it_has_a_signal_for(
    tiny_model: LoadedModel, tmp_path: Path, samples: list[Sample]
) -> None:
    both = [scored(taught(samples[0], 1.0), -1.0), scored(samples[1], 1.0), taught(samples[2], 2.0)]
    combined = run(step_for(tiny_model, tmp_path, COMBINED), both).metrics
    rl = run(step_for(tiny_model, tmp_path, BINARY), both[:2]).metrics
    opd = run(step_for(tiny_model, tmp_path, OPD), [both[0], both[2]]).metrics
    assert combined["train/rl_loss"] == pytest.approx(rl["train/rl_loss"], abs=1e-4)
    assert combined["train/opd_loss"] == pytest.approx(opd["train/opd_loss"], abs=1e-4)
    assert combined["train/loss"] == pytest.approx(rl["train/loss"] + opd["train/loss"], abs=1e-4)
    assert (combined["train/rl_turns"], combined["train/opd_turns"]) == (2.0, 2.0)
    assert combined["train/turns"] == 3.0


def test_a_term_that_no_turn_fed_is_left_out_and_not_reported_as_0(
    tiny_model: LoadedModel, tmp_path: Path, samples: list[Sample]
) -> None:
    step = step_for(tiny_model, tmp_path, COMBINED)
    untaught = run(step, [scored(samples[0], 1.0)]).metrics
    assert untaught["train/rl_loss"] != 0
    assert not {"train/opd_loss", "train/teacher_gap"} & set(untaught)
    unscored = run(step, [taught(samples[0], 1.0)]).metrics
    assert unscored["train/opd_loss"] != 0
    assert "train/rl_loss" not in unscored


def test_hints_change_nothing_where_only_scores_are_learnt_from(
    tiny_model: LoadedModel, tmp_path: Path, samples: list[Sample]
) -> None:
    step = step_for(tiny_model, tmp_path, BINARY)
    plain = [scored(sample, 1.0) for sample in samples]
    one, other = run(step, plain), run(step, [taught(sample, 3.0) for sample in plain])
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-7),
        one.state.trainable,
        other.state.trainable,
    )


def test_the_top_k_form_pulls_to_the_teachers_distribution(
    tiny_model: LoadedModel, tmp_path: Path, samples: list[Sample]
) -> None:
    """A teacher who is nearly sure of one token makes it likelier; the sampled one does not."""
    objective = dataclasses.replace(OPD, opd=OpdConfig(form=OpdForm.top_k, top_k=2))
    sample = samples[0]
    wanted = tuple((token + 1) % 200 for token in sample.response_ids)
    ids = tuple(zip(wanted, sample.response_ids, strict=True))
    sure = ((-0.02, -5.0),) * len(ids)
    lesson = dataclasses.replace(sample, teacher=TeacherSays(sample.sampler_logprobs, ids, sure))
    result = run(step_for(tiny_model, tmp_path, objective), [lesson], support=2)
    params = served_params(tiny_model, result.state, LORA)
    asked = dataclasses.replace(sample, response_ids=(wanted[0],), sampler_logprobs=(0.0,))
    before = logprobs(tiny_model, tiny_model.params, [asked])[0][0]
    assert logprobs(tiny_model, params, [asked])[0][0] > before
    assert result.metrics["train/opd_loss"] > 0


@pytest.mark.parametrize("estimator", list(KlEstimator))
def test_a_kl_term_pulls_back_to_the_base(samples: list[Sample], estimator: KlEstimator) -> None:
    objective = dataclasses.replace(BINARY, kl_coef=1.0, kl_estimator=estimator)
    loss = Loss([scored(samples[0], 0.0)], objective)
    at, mask = loss.micro.sampler_logprobs, np.asarray(loss.micro.response_mask)
    away, sums = jax.grad(loss, has_aux=True)(at, at - 0.5)
    assert (np.asarray(away)[mask] > 0).all()  # likelier than under the base: to become less so
    assert float(sums.kl) > 0
    at_base, _ = jax.grad(loss, has_aux=True)(at, at)
    np.testing.assert_allclose(at_base, 0.0, atol=1e-7)


def test_an_entropy_bonus_flattens_the_policy(
    tiny_model: LoadedModel, tmp_path: Path, samples: list[Sample]
) -> None:
    step = step_for(tiny_model, tmp_path, dataclasses.replace(BINARY, entropy_coef=1.0))
    turns = [scored(samples[0], 0.0)]
    first = step.run(step.init(0), [batch(turns)])
    second = step.run(first.state, [batch(turns)])
    assert second.metrics["train/entropy"] > first.metrics["train/entropy"] + 1e-3


def test_shapes_do_not_depend_on_who_was_taught(samples: list[Sample]) -> None:
    shapes = {
        micro.support_ids.shape
        for turns in ([scored(samples[0], 1.0)], [scored(s, 1.0) for s in samples])
        for micro in batch(turns, support=8).micro_batches
    }
    assert shapes == {(2, 32, 8)}


@pytest.mark.parametrize("normalisation", [Normalisation.turn_mean, Normalisation.token_mean])
def test_the_weights_of_each_term_sum_to_one(
    samples: list[Sample], normalisation: Normalisation
) -> None:
    mixed = [scored(samples[0], 1.0), taught(samples[1], 1.0), scored(taught(samples[2], 1.0), 1.0)]
    micros = batch(mixed, normalisation).micro_batches
    for name in ("weights", "rl_weights", "opd_weights"):
        assert sum(getattr(m, name).sum() for m in micros) == pytest.approx(1.0, rel=1e-5)


@pytest.mark.parametrize("normalisation", list(Normalisation))
def test_what_a_token_counts_for(samples: list[Sample], normalisation: Normalisation) -> None:
    lengths = [len(sample.response_ids) for sample in samples]
    assert len(set(lengths)) == 3
    each = {
        Normalisation.turn_mean: [1 / (3 * length) for length in lengths],
        Normalisation.token_mean: [1 / sum(lengths)] * 3,
        Normalisation.constant: [1 / (3 * 128)] * 3,
        Normalisation.turn_sum: [1 / 3] * 3,
    }[normalisation]
    expected = [weight for weight, length in zip(each, lengths, strict=True) for _ in range(length)]
    micros = make_batch(
        [scored(sample, 1.0) for sample in samples],
        version=0,
        length_buckets=[32],
        micro_batch_tokens=64,
        normalisation=normalisation,
        constant_tokens=128,
    ).micro_batches
    found = np.concatenate([m.rl_weights[m.rl_weights > 0] for m in micros])
    np.testing.assert_allclose(np.sort(found), np.sort(expected), rtol=1e-5)


@pytest.mark.parametrize("normalisation", list(Normalisation))
def test_what_is_told_per_token_is_so_whatever_a_token_counts_for(
    samples: list[Sample], normalisation: Normalisation
) -> None:
    objective = dataclasses.replace(
        COMBINED, normalisation=normalisation, kl_coef=1.0, kl_estimator=KlEstimator.k1
    )
    loss = Loss([scored(samples[0], 1.0), taught(samples[1], 2.0)], objective)
    _, sums = loss(loss.sampled, loss.sampled - 0.5)
    told = step_metrics(sums, zeros()[1], has_rl=True, has_opd=True, has_kl=True)
    assert told["train/kl"] == pytest.approx(0.5, rel=1e-4)
    assert told["train/teacher_gap"] == pytest.approx(2.0, rel=1e-4)


def test_a_mini_batch_without_turns_of_a_term_thins_nothing_that_is_told_of_it(
    samples: list[Sample],
) -> None:
    losses = [Loss([taught(samples[0], 2.0)], COMBINED), Loss([scored(samples[1], 1.0)], COMBINED)]
    lesson, praise = (loss(loss.sampled)[1] for loss in losses)
    seen = mean_over_steps([(lesson, zeros()[1]), (praise, zeros()[1])])
    told = step_metrics(*seen, has_rl=True, has_opd=True, has_kl=False)
    assert told["train/teacher_gap"] == pytest.approx(2.0, rel=1e-4)
    assert told["train/opd_loss"] == pytest.approx(float(lesson.opd_loss))
    assert told["train/rl_loss"] == pytest.approx(float(praise.rl_loss))
    assert told["train/loss"] == pytest.approx(float(lesson.loss + praise.loss) / 2)


def test_terms_count_by_their_weights(
    tiny_model: LoadedModel, tmp_path: Path, samples: list[Sample]
) -> None:
    turns = [scored(taught(samples[0], 1.0), -1.0), scored(samples[1], 0.5), taught(samples[2], 2)]
    weighed = dataclasses.replace(COMBINED, w_rl=0.5, w_opd=0.25)
    found = run(step_for(tiny_model, tmp_path, weighed), turns).metrics
    rl, opd = found["train/rl_loss"], found["train/opd_loss"]
    assert min(abs(rl), abs(opd)) > 0.1
    assert found["train/loss"] == pytest.approx(0.5 * rl + 0.25 * opd, abs=1e-5)
    alone = dataclasses.replace(BINARY, w_rl=0.5)
    norms = [
        run(step_for(tiny_model, tmp_path, objective), turns[:2]).metrics["train/grad_norm"]
        for objective in (BINARY, alone)
    ]
    assert norms[1] == pytest.approx(0.5 * norms[0], rel=1e-3)


@pytest.mark.parametrize("who", list(Teacher))
def test_who_reads_the_hint_is_who_is_configured(
    tiny_model: LoadedModel, tmp_path: Path, samples: list[Sample], who: Teacher
) -> None:
    objective = dataclasses.replace(OPD, opd=OpdConfig(teacher=who, ema_decay=0.5))
    step = step_for(tiny_model, tmp_path, objective)
    state = step.averaged(run(step, [taught(samples[0], 2.0)]).state)
    models = {Teacher.base: step.base, Teacher.policy: step.policy(state)}
    if who is Teacher.ema:
        models[who] = step.model(state.ema)
    scorer = Scorer(step._learner)
    said = {name: scorer.score(model, samples[:1])[0].logprobs for name, model in models.items()}
    teacher = scorer.score(step.teacher(state), samples[:1])[0].logprobs
    for name, logprobs_ in said.items():
        assert (np.abs(np.subtract(teacher, logprobs_)).max() < 1e-6) == (name is who), name


def test_a_moving_average_of_the_policy_follows_it_slowly(
    tiny_model: LoadedModel, tmp_path: Path, samples: list[Sample]
) -> None:
    opd = OpdConfig(teacher=Teacher.ema, ema_decay=0.75)
    step = step_for(tiny_model, tmp_path, dataclasses.replace(OPD, opd=opd))
    state = step.init(0)
    start = jax.tree.map(np.array, state.trainable)
    batches = [batch([taught(sample, 2.0)]) for sample in samples[:2]]
    state = step.averaged(step.run(state, batches).state)
    jax.tree.map(
        lambda old, new, average: np.testing.assert_allclose(
            average, 0.75 * old + 0.25 * np.asarray(new), rtol=1e-5, atol=1e-6
        ),
        start,
        state.trainable,
        state.ema,
    )
