"""Puts a learner together from configuration, and resumes it."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from clawjax.config import (
    EngineConfig,
    GatewayConfig,
    LearnerConfig,
    ObjectiveConfig,
    RewardConfig,
)
from clawjax.errors import ConfigError
from clawjax.learner.budget import DriftBudget
from clawjax.learner.checkpoint import Checkpoints
from clawjax.learner.credit import build_credit
from clawjax.learner.intake import Intake
from clawjax.learner.loop import Learner
from clawjax.learner.making import Maker
from clawjax.learner.practice import Practice
from clawjax.learner.profiling import Profiler
from clawjax.learner.protocols import LearnerLog
from clawjax.learner.publish import Publisher
from clawjax.learner.replay_buffer import ReplayBuffer
from clawjax.learner.replay_sync import ReplaySync
from clawjax.learner.reporter import Reporter
from clawjax.learner.sampler import Sampler
from clawjax.learner.scoring import Scorer
from clawjax.learner.signals import SignalReader
from clawjax.learner.step import TrainStep
from clawjax.learner.teacher import HintTeacher
from clawjax.learner.update import Updater
from clawjax.learner.versions import Versions
from clawjax.models.load import LoadedModel
from clawjax.models.transformer import Params
from clawjax.protocols import Monitor, WeightStore
from clawjax.rendering.prompts import Prompts, prompts_of

__all__ = ["build_learner"]

_MOST_AT_ONCE = 32
"""Answers of practice that are written side by side; each has a row of the cache."""


def build_learner(
    *,
    model: LoadedModel,
    objective: ObjectiveConfig,
    learner: LearnerConfig,
    reward: RewardConfig,
    log: LearnerLog,
    store: WeightStore,
    monitor: Monitor,
    run_dir: Path,
    seed: int,
    fixed_text: str,
    engine: EngineConfig,
    gateway: GatewayConfig,
    origin: Callable[[], Params | None] = lambda: None,
    clock: Callable[[], float] = time.time,
    profile_steps: Collection[int] = (),
) -> Learner:
    """Put a learner together and resume it.

    Args:
        model: the base.
        objective: what is learnt from, and how.
        learner: when, and how far.
        reward: who judges.
        log: where turns come from.
        store: where versions go.
        monitor: where metrics go.
        run_dir: holds checkpoints, failed batches and traces.
        seed: of the adapter's first weights.
        fixed_text: what `learner.drift.max_nll_increase` is measured on.
        engine: the shapes that practice draws replies with.
        gateway: how the model is served: the teacher is told of tools in the same way.
        origin: the weights that training begins with; None for those of the base model.
        clock: Unix seconds.
        profile_steps: steps that JAX's profiler traces.

    Raises:
        ConfigError: the objective does not fit the model.
        LearnerError: `run_dir` belongs to another model or method, or cannot be written.
        StoreError: the weight store cannot be read or written.
    """
    _check_vocabulary(model, objective)
    failed_dir = run_dir / "failed_batches"
    train_step = TrainStep(model, objective=objective, learner=learner, failed_dir=failed_dir)
    shared = _Shared(model, objective, learner, train_step, Scorer(learner), ReplayBuffer())
    publisher = Publisher(store, model, learner, origin=origin)
    intake, reporter = Intake(learner, objective, reward, log, clock), Reporter(objective, monitor)
    versions = _build_versions(shared, publisher, run_dir, seed)
    maker = Maker(
        rest_above=learner.rest_above,
        intake=intake,
        replay=ReplaySync(objective, reward, log, shared.replay_buffer),
        reader=_build_reader(shared, prompts_of(model.tokenizer, gateway)),
        updater=_build_updater(shared, engine, fixed_text),
        versions=versions,
        reporter=reporter,
        profiler=Profiler(run_dir / "profile", frozenset(profile_steps)),
    )
    built = Learner(learner, intake, maker, versions, reporter)
    built.start()
    return built


class _Shared(NamedTuple):
    """What several parts of a learner are made of."""

    model: LoadedModel
    objective: ObjectiveConfig
    learner: LearnerConfig
    train_step: TrainStep
    scorer: Scorer
    replay_buffer: ReplayBuffer


def _check_vocabulary(model: LoadedModel, objective: ObjectiveConfig) -> None:
    """Raises ConfigError: more tokens are to be compared than the model has."""
    vocabulary = model.architecture.vocab_size
    if objective.uses_teacher and objective.opd.top_k > vocabulary:
        msg = f"objective.opd.top_k={objective.opd.top_k} is above the vocabulary of {vocabulary}"
        raise ConfigError(f"{msg}: lower it")


def _build_reader(shared: _Shared, prompts: Prompts) -> SignalReader:
    return SignalReader(
        objective=shared.objective,
        credit=build_credit(shared.objective),
        scorer=shared.scorer,
        train_step=shared.train_step,
        teacher=_build_teacher(shared, prompts),
        replay_buffer=shared.replay_buffer,
    )


def _build_teacher(shared: _Shared, prompts: Prompts) -> HintTeacher | None:
    if not shared.objective.uses_teacher:
        return None
    return HintTeacher(
        shared.scorer,
        prompts.ids,
        shared.objective.opd,
        max_tokens=shared.learner.max_tokens,
        replay_buffer=shared.replay_buffer,
    )


def _build_updater(shared: _Shared, engine: EngineConfig, fixed_text: str) -> Updater:
    return Updater(
        config=shared.learner,
        objective=shared.objective,
        train_step=shared.train_step,
        budget=_build_budget(shared, fixed_text),
        practice=_build_practice(shared, engine),
    )


def _build_budget(shared: _Shared, fixed_text: str) -> DriftBudget | None:
    drift = shared.learner.drift
    if not drift.is_on and shared.objective.practice.rounds == 0:
        return None
    return DriftBudget(
        drift,
        shared.train_step.base,
        fixed_text=shared.model.tokenizer.encode(fixed_text),
        length_buckets=shared.learner.length_buckets,
    )


def _build_practice(shared: _Shared, engine: EngineConfig) -> Practice | None:
    model, objective, learner, train_step, scorer, replay_buffer = shared
    if objective.practice.rounds == 0:
        return None
    return Practice(
        objective.practice,
        Sampler(model, _at_once(engine, objective), learner.lora if train_step.is_lora else None),
        scorer,
        train_step.base,
        replay_buffer,
        num_layers=model.architecture.num_layers,
        max_tokens=learner.max_tokens,
        negative_weight=objective.negative_weight,
        text_of=model.tokenizer.decode,
    )


def _at_once(engine: EngineConfig, objective: ObjectiveConfig) -> EngineConfig:
    """Shapes for a round's answers side by side: a step of decoding reads the weights for all."""
    answers = objective.practice.prompts * objective.practice.samples
    return replace(engine, slots=max(engine.slots, min(answers, _MOST_AT_ONCE)), kept_prefixes=0)


def _build_versions(shared: _Shared, publisher: Publisher, run_dir: Path, seed: int) -> Versions:
    train_step = shared.train_step
    checkpoints = Checkpoints(
        run_dir / "checkpoints",
        keep=shared.learner.keep_checkpoints,
        identity=_identity(shared.model, shared.learner, train_step),
    )
    return Versions(train_step, checkpoints, publisher, train_step.init(seed))


def _identity(
    model: LoadedModel, learner: LearnerConfig, train_step: TrainStep
) -> dict[str, object]:
    """What a checkpoint has to agree on to be of use."""
    identity: dict[str, object] = {
        "base_model": model.base_id,
        "method": learner.method,
        "teacher": "ema" if train_step.has_ema else "not averaged",
        "warmup_steps": "above 0" if learner.warmup_steps else 0,  # who warms up counts steps
    }
    if learner.method == "lora":
        lora = learner.lora
        identity |= {"rank": lora.rank, "alpha": lora.alpha, "targets": sorted(lora.targets)}
    return identity
