"""Puts a learner together from configuration, and resumes it."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path

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
from clawjax.learner.practice import Practice
from clawjax.learner.profiling import Profiler
from clawjax.learner.protocols import LearnerLog
from clawjax.learner.publish import Publisher
from clawjax.learner.replay_buffer import ReplayBuffer
from clawjax.learner.replay_sync import ReplaySync
from clawjax.learner.sampler import Sampler
from clawjax.learner.scoring import Scorer
from clawjax.learner.signals import SignalReader
from clawjax.learner.step import TrainStep
from clawjax.learner.teacher import HintTeacher
from clawjax.learner.update import Updater
from clawjax.learner.versions import Versions
from clawjax.models.load import LoadedModel
from clawjax.models.tokenizer import ChatTokenizer
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
    train_step = TrainStep(
        model, objective=objective, learner=learner, failed_dir=run_dir / "failed_batches"
    )
    scorer, replay_buffer = Scorer(learner), ReplayBuffer()
    prompts = prompts_of(model.tokenizer, gateway)
    built = Learner(
        config=learner,
        objective=objective,
        intake=Intake(learner, objective, reward, log, clock),
        replay=ReplaySync(objective, reward, log, replay_buffer),
        reader=SignalReader(
            objective=objective,
            credit=build_credit(objective),
            scorer=scorer,
            train_step=train_step,
            teacher=_build_teacher(prompts, objective, learner, scorer, replay_buffer),
            replay_buffer=replay_buffer,
        ),
        updater=Updater(
            config=learner,
            objective=objective,
            train_step=train_step,
            budget=_build_budget(train_step, objective, learner, model.tokenizer, fixed_text),
            practice=_build_practice(
                model, objective, learner, engine, train_step, scorer, replay_buffer
            ),
        ),
        versions=Versions(
            train_step,
            Checkpoints(
                run_dir / "checkpoints",
                keep=learner.keep_checkpoints,
                identity=_identity(model, learner, train_step),
            ),
            Publisher(store, model, learner, origin=origin),
            train_step.init(seed),
        ),
        monitor=monitor,
        profiler=Profiler(run_dir / "profile", frozenset(profile_steps)),
    )
    built.start()
    return built


def _check_vocabulary(model: LoadedModel, objective: ObjectiveConfig) -> None:
    """Raises ConfigError: more tokens are to be compared than the model has."""
    vocabulary = model.architecture.vocab_size
    if objective.uses_teacher and objective.opd.top_k > vocabulary:
        msg = f"objective.opd.top_k={objective.opd.top_k} is above the vocabulary of {vocabulary}"
        raise ConfigError(f"{msg}: lower it")


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


def _build_practice(
    model: LoadedModel,
    objective: ObjectiveConfig,
    learner: LearnerConfig,
    engine: EngineConfig,
    train_step: TrainStep,
    scorer: Scorer,
    replay_buffer: ReplayBuffer,
) -> Practice | None:
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


def _build_budget(
    train_step: TrainStep,
    objective: ObjectiveConfig,
    learner: LearnerConfig,
    tokenizer: ChatTokenizer,
    fixed_text: str,
) -> DriftBudget | None:
    if not learner.drift.is_on and objective.practice.rounds == 0:
        return None
    return DriftBudget(
        learner.drift,
        train_step.base,
        fixed_text=tokenizer.encode(fixed_text),
        length_buckets=learner.length_buckets,
    )


def _build_teacher(
    prompts: Prompts,
    objective: ObjectiveConfig,
    learner: LearnerConfig,
    scorer: Scorer,
    replay_buffer: ReplayBuffer,
) -> HintTeacher | None:
    if not objective.uses_teacher:
        return None
    return HintTeacher(
        scorer,
        prompts.ids,
        objective.opd,
        max_tokens=learner.max_tokens,
        replay_buffer=replay_buffer,
    )
