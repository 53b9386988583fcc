"""The training step: right direction, right numbers, and no trust where none is due."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from learner_records import conversation, make_sample
from policies import as_sampled, logprobs, served_params

from clawjax.config import LearnerConfig, LoraConfig, ObjectiveConfig
from clawjax.errors import LearnerError
from clawjax.learner.batching import Batch, make_batch
from clawjax.learner.step import TrainState, TrainStep
from clawjax.models.load import LoadedModel
from clawjax.records import Sample

LORA = LoraConfig(rank=4, alpha=8.0)
KL_COEF = 0.1


def learner(method: str) -> LearnerConfig:
    return LearnerConfig(
        method=method, lora=LORA, learning_rate=3e-3, max_tokens=32, length_buckets=[32]
    )


@pytest.fixture(scope="module", params=["lora", "full"])
def train_step(
    request: pytest.FixtureRequest,
    tiny_model: LoadedModel,
    tmp_path_factory: pytest.TempPathFactory,
) -> TrainStep:
    return TrainStep(
        tiny_model,
        objective=ObjectiveConfig(kl_coef=KL_COEF),
        learner=learner(request.param),
        failed_dir=tmp_path_factory.mktemp("failed"),
    )


def lora_of(train_step: TrainStep) -> LoraConfig | None:
    return LORA if train_step.is_lora else None


def some_samples() -> list[Sample]:
    sizes = [(5, 9, 1.0), (12, 6, -1.0), (3, 15, -0.5), (8, 2, 0.25)]
    return [
        make_sample(
            f"t{i}", prompt, response, credit=credit, temperature=0.8, seed=i + 1, vocab=200
        )
        for i, (prompt, response, credit) in enumerate(sizes)
    ]


def batched(samples: Sequence[Sample], version: int = 0, *, is_packed: bool = True) -> Batch:
    return make_batch(
        samples,
        version=version,
        length_buckets=[32],
        micro_batch_tokens=64,
        is_packed=is_packed,
    )


def joined(*parts: Batch) -> Batch:
    """One batch of several, in which every turn weighs the same again."""
    turns = [sum(map(len, part.spans)) for part in parts]
    return Batch(
        tuple(
            micro._replace(
                weights=micro.weights * count / sum(turns),
                rl_weights=micro.rl_weights * count / sum(turns),
            )
            for part, count in zip(parts, turns, strict=True)
            for micro in part.micro_batches
        ),
        tuple(spans for part in parts for spans in part.spans),
    )


def perturbed(state: TrainState) -> TrainState:
    """Away from the base, as after some training."""
    rng = np.random.default_rng(0)
    moved = jax.tree.map(
        lambda leaf: leaf + jnp.asarray(rng.normal(size=leaf.shape) * 0.03, jnp.float32),
        state.trainable,
    )
    return state._replace(trainable=moved, step=jnp.asarray(1, jnp.int32))


def test_first_step_after_a_sync_has_ratio_one_and_no_kl(
    tiny_model: LoadedModel, train_step: TrainStep
) -> None:
    samples = as_sampled(tiny_model, tiny_model.params, some_samples(), version=0)
    metrics = train_step.run(train_step.init(0), [batched(samples)]).metrics
    assert metrics["train/ratio_mean"] == pytest.approx(1.0, abs=1e-4)
    assert metrics["train/ratio_max"] == pytest.approx(1.0, abs=1e-3)
    assert metrics["train/ess"] == pytest.approx(1.0, abs=1e-4)
    assert metrics["train/kl"] == pytest.approx(0.0, abs=1e-6)
    assert metrics["train/clip_fraction"] == 0.0
    assert metrics["train/mean_abs_logprob_diff"] < 1e-4
    assert metrics["train/max_abs_logprob_diff"] < 1e-3
    assert metrics["train/mismatch_kl"] == pytest.approx(0.0, abs=1e-6)
    assert metrics["train/mismatch_tokens"] == metrics["train/tokens"] == 32
    for name in ("mean_abs_logprob_diff", "max_abs_logprob_diff", "mismatch_kl"):
        assert metrics[f"train/{name}_all"] == metrics[f"train/{name}"]
    # With ratio 1 the loss is minus the mean advantage, every turn weighing the same.
    assert metrics["train/loss"] == pytest.approx(-np.mean([1.0, -1.0, -0.5, 0.25]), abs=1e-4)


def test_loss_recomputed_in_numpy(tiny_model: LoadedModel, train_step: TrainStep) -> None:
    state = perturbed(train_step.init(0))
    params = served_params(tiny_model, state, lora_of(train_step))
    samples = as_sampled(tiny_model, tiny_model.params, some_samples(), version=0)
    news, bases = (logprobs(tiny_model, p, samples) for p in (params, tiny_model.params))
    turns, mean_kl, ratios = [], [], []
    for sample, new, base in zip(samples, news, bases, strict=True):
        r = np.exp(new - np.array(sample.sampler_logprobs))
        a = sample.credit[0]
        surrogate = -np.minimum(np.minimum(r, 2.0) * a, np.clip(r, 0.8, 1.28) * a)
        turns.append(surrogate.mean())
        mean_kl.append((np.exp(base - new) - 1 - (base - new)).mean())
        ratios.extend(r)
    metrics = train_step.run(state, [batched(samples, version=1)]).metrics
    assert metrics["train/rl_loss"] == pytest.approx(np.mean(turns), rel=1e-3, abs=1e-5)
    assert metrics["train/kl"] == pytest.approx(np.mean(mean_kl), rel=1e-3)
    expected = np.mean(turns) + KL_COEF * np.mean(mean_kl)
    assert metrics["train/loss"] == pytest.approx(expected, rel=1e-3, abs=1e-5)
    assert metrics["train/ratio_mean"] == pytest.approx(np.mean(ratios), rel=1e-3)
    assert metrics["train/ratio_max"] == pytest.approx(np.max(ratios), rel=1e-3)
    ess = np.sum(ratios) ** 2 / (len(ratios) * np.sum(np.square(ratios)))
    assert metrics["train/ess"] == pytest.approx(ess, rel=1e-3)
    assert metrics["train/kl"] > 1e-3
    assert metrics["train/staleness_mean"] == 1.0
    far = np.log(ratios)
    assert metrics["train/mean_abs_logprob_diff_all"] == pytest.approx(np.abs(far).mean(), rel=1e-3)
    assert metrics["train/max_abs_logprob_diff_all"] == pytest.approx(np.abs(far).max(), rel=1e-3)
    kl = np.mean(np.expm1(far) - far)
    assert metrics["train/mismatch_kl_all"] == pytest.approx(kl, rel=1e-2)
    for name in ("mean_abs_logprob_diff", "max_abs_logprob_diff", "mismatch_kl"):
        assert f"train/{name}" not in metrics, "of another version"


def test_praise_makes_likelier_and_criticism_unlikelier(
    tiny_model: LoadedModel, train_step: TrainStep
) -> None:
    praised, criticised = some_samples()[:2]
    samples = as_sampled(tiny_model, tiny_model.params, [praised, criticised], version=0)
    result = train_step.run(train_step.init(0), [batched(samples)])
    params = served_params(tiny_model, result.state, lora_of(train_step))
    after = [values.sum() for values in logprobs(tiny_model, params, samples)]
    before = [sum(sample.sampler_logprobs) for sample in samples]
    assert after[0] > before[0] + 0.01
    assert after[1] < before[1] - 0.01
    assert int(result.state.step) == 1


def test_an_update_in_mini_batches_is_one_optimiser_step_after_the_other(
    tiny_model: LoadedModel, train_step: TrainStep
) -> None:
    samples = as_sampled(tiny_model, tiny_model.params, some_samples(), version=0)
    halves = [batched(samples[:2]), batched(samples[2:])]
    update = train_step.run(train_step.init(0), halves)
    one = train_step.run(train_step.init(0), halves[:1])
    two = train_step.run(one.state, [batched(samples[2:], version=1)])
    assert int(update.state.step) == 1
    jax.tree.map(
        lambda found, wanted: np.testing.assert_allclose(found, wanted, atol=1e-6),
        update.state.trainable,
        two.state.trainable,
    )
    assert update.metrics["train/optimizer_steps"] == 2
    assert update.metrics["train/turns"] == 4
    losses = (one.metrics["train/loss"], two.metrics["train/loss"])
    assert update.metrics["train/loss"] == pytest.approx(sum(losses) / 2, rel=1e-4, abs=1e-6)
    # The sampler is compared with the policy that it sampled from, not with what became of it.
    responses = sum(len(sample.response_ids) for sample in samples[:2])
    assert update.metrics["train/mismatch_tokens"] == responses
    assert update.metrics["train/max_abs_logprob_diff"] < 1e-4


def test_an_epoch_more_learns_from_the_same_turns_again(
    tiny_model: LoadedModel, tmp_path: Path
) -> None:
    samples = as_sampled(tiny_model, tiny_model.params, some_samples(), version=0)
    moved = []
    for epochs in (1, 3):
        config = dataclasses.replace(learner("lora"), epochs=epochs)
        objective = ObjectiveConfig(kl_coef=KL_COEF)
        step = TrainStep(tiny_model, objective=objective, learner=config, failed_dir=tmp_path)
        result = step.run(step.init(0), [batched(samples[:2]), batched(samples[2:])])
        assert int(result.state.step) == 1
        assert result.metrics["train/optimizer_steps"] == 2 * epochs
        assert result.metrics["train/turns"] == 4
        assert result.metrics["train/tokens"] == sum(len(s.response_ids) for s in samples)
        assert result.metrics["train/max_abs_logprob_diff"] < 1e-4
        moved.append(result.metrics["train/ratio_max"])
    assert moved[1] > moved[0] > 1


def test_division_and_order_of_a_batch_change_nothing(
    tiny_model: LoadedModel, train_step: TrainStep
) -> None:
    samples = as_sampled(tiny_model, tiny_model.params, some_samples(), version=0)
    one = train_step.run(train_step.init(0), [batched(samples)])
    other = train_step.run(
        train_step.init(0), [joined(batched(samples[3:]), batched(samples[2::-1]))]
    )
    for name in ("train/loss", "train/grad_norm", "train/entropy", "train/kl"):
        assert one.metrics[name] == pytest.approx(other.metrics[name], rel=1e-4, abs=1e-7)
    assert one.metrics["train/grad_norm"] > 0


def test_packing_changes_nothing(tiny_model: LoadedModel, train_step: TrainStep) -> None:
    samples = as_sampled(tiny_model, tiny_model.params, some_samples(), version=0)
    packed, padded = batched(samples, 1), batched(samples, 1, is_packed=False)
    assert len(packed.micro_batches) < len(padded.micro_batches)
    one = train_step.run(perturbed(train_step.init(0)), [packed])
    other = train_step.run(perturbed(train_step.init(0)), [padded])
    for name in ("loss", "grad_norm", "entropy", "kl", "tokens", "advantage_mean", "ratio_max"):
        expected = pytest.approx(other.metrics[f"train/{name}"], rel=1e-4, abs=1e-7)
        assert one.metrics[f"train/{name}"] == expected, name


def test_sharing_a_segment_changes_nothing(tiny_model: LoadedModel, train_step: TrainStep) -> None:
    """Turns of a conversation laid out together, and each on its own."""
    samples = as_sampled(tiny_model, tiny_model.params, conversation(vocab=200), version=0)
    shared = batched(samples, version=1)
    assert len(shared.micro_batches) == 1
    apart = joined(*(batched([sample], version=1) for sample in samples))
    one = train_step.run(perturbed(train_step.init(0)), [shared]).metrics
    other = train_step.run(perturbed(train_step.init(0)), [apart]).metrics
    for name in ("loss", "grad_norm", "entropy", "kl", "tokens", "advantage_mean"):
        assert one[f"train/{name}"] == pytest.approx(other[f"train/{name}"], rel=1e-3), name
    assert one["train/computed_tokens"] < other["train/computed_tokens"]


def test_no_credit_no_change(tiny_model: LoadedModel, train_step: TrainStep) -> None:
    samples = as_sampled(tiny_model, tiny_model.params, some_samples(), version=0)
    silent = [dataclasses.replace(s, credit=(0.0,) * len(s.credit)) for s in samples]
    metrics = train_step.run(train_step.init(0), [batched(silent)]).metrics
    assert metrics["train/loss"] == pytest.approx(0.0, abs=1e-6)
    assert metrics["train/grad_norm"] < 1e-4


def test_the_base_is_never_changed(tiny_model: LoadedModel, train_step: TrainStep) -> None:
    before = jax.tree.map(np.array, tiny_model.params)
    samples = as_sampled(tiny_model, tiny_model.params, some_samples(), version=0)
    train_step.run(train_step.init(0), [batched(samples)])
    again = train_step.run(train_step.init(0), [batched(samples)]).metrics
    jax.tree.map(np.testing.assert_array_equal, before, dict(tiny_model.params))
    assert again["train/kl"] == pytest.approx(0.0, abs=1e-6)


def test_restarting_forgets_what_the_optimiser_knew(
    tiny_model: LoadedModel, train_step: TrainStep
) -> None:
    fresh = train_step.init(0)
    samples = as_sampled(tiny_model, tiny_model.params, some_samples(), version=0)
    moved = train_step.run(train_step.init(0), [batched(samples)]).state
    jax.tree.map(
        np.testing.assert_array_equal,
        train_step.restart(moved, None, step=7),
        fresh._replace(step=jnp.asarray(7, jnp.int32)),
    )
    again = train_step.restart(moved, moved.trainable, step=7)
    jax.tree.map(np.testing.assert_array_equal, again.trainable, moved.trainable)
    jax.tree.map(np.testing.assert_array_equal, again.opt_state, fresh.opt_state)


def test_one_compiled_program_per_shape(tiny_model: LoadedModel, train_step: TrainStep) -> None:
    samples = as_sampled(tiny_model, tiny_model.params, some_samples(), version=0)
    state = train_step.init(0)
    for chosen in (samples[:1], samples[:3], samples):
        state = train_step.restart(train_step.run(state, [batched(chosen)]).state, None, step=0)
    shapes = train_step.traced_shapes
    assert len(shapes) == len(set(shapes))


def test_what_is_not_finite_stops_the_run_with_its_batch(
    tiny_model: LoadedModel, train_step: TrainStep
) -> None:
    broken = dataclasses.replace(some_samples()[0], credit=(float("nan"),) * 9)
    with pytest.raises(
        LearnerError, match=r"train/loss is nan.*Its batch is in .*step_1\.npz"
    ) as e:
        train_step.run(train_step.init(0), [batched([broken], version=1)])
    dumped = np.load(Path(str(e.value).rsplit(" ", 1)[1]))
    assert np.isnan(dumped["0/advantages"][dumped["0/response_mask"]]).all()
    assert list(dumped["0/turn_ids"]) == ["t0"]


def test_a_sampler_that_disagrees_stops_the_run(
    tiny_model: LoadedModel, train_step: TrainStep
) -> None:
    samples = as_sampled(tiny_model, tiny_model.params, some_samples(), version=0)
    off = [
        dataclasses.replace(s, sampler_logprobs=tuple(v - 0.2 for v in s.sampler_logprobs))
        for s in samples
    ]
    with pytest.raises(LearnerError, match=r"differ by 0\.2.* above learner.max_mismatch=0.05"):
        train_step.run(train_step.init(0), [batched(off)])
    # Of another version, or truncated while sampling, the same numbers are no mismatch.
    train_step.run(train_step.init(0), [batched(off, version=1)])
    truncated = [dataclasses.replace(s, is_truncated=True) for s in off]
    metrics = train_step.run(train_step.init(0), [batched(truncated)]).metrics
    assert metrics["train/mismatch_tokens"] == 0
    assert metrics["train/mean_abs_logprob_diff_all"] == pytest.approx(0.2, abs=1e-3)
    # Beside it, what is fresh and whole is compared, and alone.
    metrics = train_step.run(train_step.init(0), [batched([*truncated[:2], *samples[2:]])]).metrics
    assert metrics["train/mean_abs_logprob_diff"] < 1e-4
    assert metrics["train/max_abs_logprob_diff_all"] == pytest.approx(0.2, abs=1e-3)


def test_a_warm_up_makes_the_first_steps_shorter(tiny_model: LoadedModel, tmp_path: Path) -> None:
    config = dataclasses.replace(learner("lora"), warmup_steps=3, max_mismatch=100.0)
    step = TrainStep(
        tiny_model, objective=ObjectiveConfig(), learner=config, failed_dir=tmp_path / "failed"
    )
    state, rates = step.init(seed=0), []
    for _ in range(5):
        state, metrics = step.run(state, [batched(some_samples(), version=int(state.step))])
        rates.append(metrics["train/learning_rate"])
    np.testing.assert_allclose(rates, np.array([0.25, 0.5, 0.75, 1.0, 1.0]) * 3e-3, rtol=1e-5)
