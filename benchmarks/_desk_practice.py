"""The tiny policy of `process_labels`: imitates a clerk, practises at the desk, is measured."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from _desk import CALL_LETTERS, Attempt, attempts_of, clumsy_call

from clawjax.config import (
    Baseline,
    EngineConfig,
    LearnerConfig,
    ModelConfig,
    ObjectiveConfig,
    PolicyLoss,
    ProcessConfig,
    StepScheme,
    StepsConfig,
)
from clawjax.envs.front_desk import desk_tasks
from clawjax.learner.batching import Batch, make_batch
from clawjax.learner.credit import AdmittedTurn, CreditState, build_credit
from clawjax.learner.sampler import Drawn, Sampler
from clawjax.learner.step import TrainStep
from clawjax.log.replay import to_sample
from clawjax.models.load import LoadedModel, load_model
from clawjax.models.transformer import Params
from clawjax.protocols import GenerateRequest
from clawjax.records import Sample, SamplingParams, ToolCall, Turn
from clawjax.review.steps import step_score
from clawjax.rewards.episode import episode_of
from clawjax.rewards.steps import against_reference, step_labels

__all__ = [
    "COMMON",
    "MODEL",
    "Bench",
    "Contestant",
    "Scale",
    "Solved",
    "imitate",
    "measured",
    "practise",
]

MODEL = ModelConfig(name="tiny", path="random:llama", context_length=128)
ENGINE = EngineConfig(
    slots=48, kept_prefixes=0, prefill_chunk=64, live_buckets=[64], compilation_cache=None
)
LEARNER = LearnerConfig(
    method="full",
    length_buckets=[64],
    micro_batch_tokens=4096,
    max_tokens=64,
    learning_rate=3e-4,
)
IMITATOR = replace(LEARNER, learning_rate=2e-3, warmup_steps=20)
RULES = ProcessConfig()
COMMON = {
    key: asdict(value)
    for key, value in (
        ("model", MODEL),
        ("engine", ENGINE),
        ("learner", LEARNER),
        ("imitator", IMITATOR),
        ("rules", RULES),
    )
}
"""Settings that all trials share."""
Solved = dict[str, float]
"""Whether each held-out task was solved, by its number."""


class Scale(NamedTuple):
    """How much is done."""

    imitation: int
    """Optimiser steps before practice."""
    updates: int
    tasks: int
    group: int
    held_out: int
    every: int
    """Updates between evaluations."""


class Contestant(NamedTuple):
    """A way to credit steps."""

    scheme: StepScheme
    weight: float
    """Of the process."""
    is_corrected: bool = False
    """Whether labels are those of somebody who knows the solution, instead of those by rules."""

    @property
    def objective(self) -> ObjectiveConfig:
        """All that differs between contestants is in `steps`."""
        steps = StepsConfig(scheme=self.scheme, process_weight=self.weight)
        return ObjectiveConfig(kl_coef=0.0, baseline=Baseline.grpo, steps=steps)


@dataclass(slots=True)
class Bench:
    """A model and what draws from it."""

    model: LoadedModel
    sampler: Sampler
    failed_dir: Path

    @classmethod
    def of(cls, seed: int, folder: Path) -> Bench:
        """The random model of a seed."""
        model = load_model(MODEL, seed=seed)
        return cls(model, Sampler(model, ENGINE, None), folder)

    def encode(self, told: str) -> tuple[int, ...]:
        """What the policy reads, as tokens."""
        return tuple(self.model.tokenizer.encode(told))

    def train_step(self, objective: ObjectiveConfig, learner: LearnerConfig) -> TrainStep:
        """A step for an objective, all weights."""
        return TrainStep(
            self.model, objective=objective, learner=learner, failed_dir=self.failed_dir
        )

    def attempt(
        self, attempts: Sequence[Attempt], params: Params, *, version: int, seed: int
    ) -> None:
        """Let the policy do all tasks, side by side, to their ends."""
        rng = random.Random(f"draw:{seed}:{version}")
        while going := [each for each in attempts if not each.is_over]:
            requests = [
                GenerateRequest(
                    str(number),
                    self.encode(each.told),
                    SamplingParams(CALL_LETTERS, ignore_eos=True),
                    seed=rng.randrange(2**31),
                )
                for number, each in enumerate(going)
            ]
            drawn = self.sampler.draw(params, requests)
            for each, request, reply in zip(going, requests, drawn, strict=True):
                text = self.model.tokenizer.decode(reply.token_ids)
                each.act(request.prompt_ids, text, reply, version=version)


def imitate(bench: Bench, scale: Scale, seed: int, *, mistakes: float) -> Params:
    """What practice starts from: the clerk's calls, mistakes and all."""
    objective = ObjectiveConfig(name="sft", policy_loss=PolicyLoss.sft, kl_coef=0.0)
    learner = bench.train_step(objective, IMITATOR)
    state = learner.init(seed)
    rng = random.Random(f"clerk:{seed}")
    tasks = desk_tasks(scale.imitation * 16, seed=seed, is_held_out=False)
    for _ in range(scale.imitation):
        samples = [
            to_sample(turn, (1.0,) * CALL_LETTERS)
            for task in (next(tasks) for _ in range(16))
            for turn in demonstrated(bench, Attempt("clerk", task), rng, mistakes)
        ]
        state, _ = learner.run(state, [batch_of(samples, version=int(state.step), is_own=False)])
    return state.trainable


def demonstrated(bench: Bench, attempt: Attempt, rng: random.Random, mistakes: float) -> list[Turn]:
    """The clerk's attempt."""
    while not attempt.is_over:
        text = clumsy_call(attempt, rng, mistakes=mistakes)
        ids = bench.encode(text)
        attempt.act(bench.encode(attempt.told), text, Drawn(ids, (-1.0,) * len(ids)), version=0)
    return [step.turn for step in attempt.steps]


def batch_of(samples: Sequence[Sample], *, version: int, is_own: bool) -> Batch:
    """One batch; what somebody else wrote is no measure of the sampler."""
    return make_batch(
        [replace(sample, is_truncated=not is_own) for sample in samples],
        version=version,
        length_buckets=LEARNER.length_buckets,
        micro_batch_tokens=LEARNER.micro_batch_tokens,
    )


def practise(
    bench: Bench, start: Params, contestant: Contestant, scale: Scale, seed: int
) -> tuple[list[dict[str, float]], Solved]:
    """Train from `start`; the curve of success after it, and the last measurement, by task."""
    learner = bench.train_step(contestant.objective, LEARNER)
    credit, memory = build_credit(contestant.objective), CreditState()
    state = learner.restart(learner.init(seed), start, step=0)
    curve, solved = [], {}
    for update in range(1, scale.updates + 1):
        tasks = list(desk_tasks(scale.tasks, seed=1000 * seed + update, is_held_out=False))
        attempts = attempts_of(tasks, group=scale.group, name=f"u{update}")
        version = int(state.step)
        bench.attempt(attempts, state.trainable, version=version, seed=seed)
        turns = [turn for attempt in attempts for turn in admitted(attempt, contestant)]
        credited = credit(turns, memory, no_ratios)
        memory = credited.state
        samples = [
            to_sample(turn.turn, own)
            for turn, own in zip(turns, credited.credit, strict=True)
            if own is not None
        ]
        if samples:
            state, _ = learner.run(state, [batch_of(samples, version=version, is_own=True)])
        if update % scale.every == 0 or update == scale.updates:
            solved = measured(bench, state.trainable, scale, seed, version=int(state.step))
            curve.append({"update": update, "success": fmean(solved.values())})
    return curve, solved


def admitted(attempt: Attempt, contestant: Contestant) -> list[AdmittedTurn]:
    """An attempt's turns with its outcome and their worth as steps."""
    solution = [
        ToolCall("", name, json.dumps(arguments)) for name, arguments in attempt.task.solution
    ]
    made: list[ToolCall] = []
    turns = []
    for step in attempt.steps:
        labels = step_labels(episode_of(step.turn, step.answer), RULES)
        (call,) = step.turn.reply.tool_calls
        if contestant.is_corrected:
            labels = against_reference(labels, made, call, solution)
        made.append(call)
        process = step_score(labels, {})
        turns.append(AdmittedTurn(step.turn, attempt.outcome, (), 0.0, process=process))
    return turns


def measured(bench: Bench, params: Params, scale: Scale, seed: int, *, version: int) -> Solved:
    """Whether each held-out task is solved at the first attempt, drawn at temperature 1."""
    tasks = list(desk_tasks(scale.held_out, seed=0, is_held_out=True))
    attempts = attempts_of(tasks, group=1, name="held out")
    bench.attempt(attempts, params, version=version, seed=10_000 + seed)
    return {str(number): float(attempt.desk.is_solved) for number, attempt in enumerate(attempts)}


def no_ratios(_turns: Sequence[Turn]) -> Sequence[float]:
    """No contestant asks how far the policy has come."""
    msg = "credit of steps needs no log-ratios"
    raise AssertionError(msg)
