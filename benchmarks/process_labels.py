"""Do labels of single steps teach a task of several calls faster than its outcome alone?

    python benchmarks/process_labels.py [--quick]

A tiny model (two layers, all weights trained) checks guests in at a front desk: four calls in the
right order, each with an argument from the request or from a result (`clawjax.envs.front_desk`).
It has imitated a clerk who is wrong in 30 % of the calls, or in 55 %, and then practises: 8 tasks
an update, 6 attempts each, equal for all contestants. Labels are made by rules, without knowing the
solution (`clawjax.rewards.steps`), or corrected by somebody who knows it. Held-out tasks pair
guests with rooms that no training task has. Three seeds; about 25 minutes on two cores. `--quick`
takes one update of one seed.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from _desk import CALL_LETTERS, Attempt, attempts_of, clumsy_call
from _result import Goal, write_result

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
from clawjax.evals.metrics.statistics import clustered_bootstrap, paired_bootstrap
from clawjax.learner.batching import Batch, make_batch
from clawjax.learner.credit import AdmittedTurn, CreditState, build_credit
from clawjax.learner.sampler import Drawn, Sampler
from clawjax.learner.step import TrainState, TrainStep
from clawjax.log.replay import to_sample
from clawjax.models.load import LoadedModel, load_model
from clawjax.models.transformer import Params
from clawjax.protocols import GenerateRequest
from clawjax.records import Sample, SamplingParams, ToolCall, Turn
from clawjax.review.steps import step_score
from clawjax.rewards.episode import episode_of
from clawjax.rewards.steps import against_reference, step_labels

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
MISTAKES = (0.3, 0.55)
"""Of the clerk, for an easy start and a hard one."""
RULES = ProcessConfig()
WEIGHT = 1.0


class Scale(NamedTuple):
    """How much is done."""

    seeds: int
    imitation: int
    """Optimiser steps before practice."""
    updates: int
    tasks: int
    group: int
    held_out: int
    every: int
    """Updates between evaluations."""


FULL = Scale(seeds=3, imitation=250, updates=40, tasks=8, group=6, held_out=64, every=10)
QUICK = Scale(seeds=1, imitation=5, updates=1, tasks=2, group=2, held_out=4, every=1)


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


PLAIN = "outcome only"
CONTESTANTS = {
    PLAIN: Contestant(StepScheme.separate, 0.0),
    "separate": Contestant(StepScheme.separate, WEIGHT),
    "separate, corrected": Contestant(StepScheme.separate, WEIGHT, is_corrected=True),
    "pooled": Contestant(StepScheme.pooled, WEIGHT),
    "step_bucket": Contestant(StepScheme.step_bucket, 1.0),
}
"""By name; the first is what the others have to beat."""


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
    objective = ObjectiveConfig(
        name="sft", policy_loss=PolicyLoss.sft, kl_coef=0.0, baseline=Baseline.none
    )
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
        samples,
        version=version,
        length_buckets=LEARNER.length_buckets,
        micro_batch_tokens=LEARNER.micro_batch_tokens,
        truncated=() if is_own else {sample.turn_id for sample in samples},
    )


def practise(
    bench: Bench, start: Params, contestant: Contestant, scale: Scale, seed: int
) -> tuple[list[dict[str, float]], dict[str, float]]:
    """Train from `start`; the curve of success, and the last success of each held-out task."""
    learner = bench.train_step(contestant.objective, LEARNER)
    credit, memory = build_credit(contestant.objective), CreditState()
    state = learner.restart(learner.init(seed), start, step=0)
    curve = [{"update": 0, "success": fmean(measured(bench, state, scale, seed).values())}]
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
        if update % scale.every == 0:
            success = fmean(measured(bench, state, scale, seed).values())
            curve.append({"update": update, "success": success})
    return curve, measured(bench, state, scale, seed)


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


def measured(bench: Bench, state: TrainState, scale: Scale, seed: int) -> dict[str, float]:
    """Whether each held-out task is solved at the first attempt, drawn at temperature 1."""
    tasks = list(desk_tasks(scale.held_out, seed=0, is_held_out=True))
    attempts = attempts_of(tasks, group=1, name="held out")
    bench.attempt(attempts, state.trainable, version=int(state.step), seed=10_000 + seed)
    return {str(number): float(attempt.desk.is_solved) for number, attempt in enumerate(attempts)}


def no_ratios(_turns: Sequence[Turn]) -> Sequence[float]:
    """No contestant asks how far the policy has come."""
    msg = "credit of steps needs no log-ratios"
    raise AssertionError(msg)


def measure(scale: Scale) -> list[dict[str, Any]]:
    """A row per start and contestant."""
    return [row for mistakes in MISTAKES for row in compared(scale, mistakes)]


def compared(scale: Scale, mistakes: float) -> list[dict[str, Any]]:
    """All contestants, from the same start for each seed."""
    folder = Path(tempfile.mkdtemp(prefix="process_labels_"))
    curves: dict[str, list[list[dict[str, float]]]] = {name: [] for name in CONTESTANTS}
    ends: dict[str, dict[str, list[float]]] = {name: {} for name in CONTESTANTS}
    for seed in range(scale.seeds):
        bench = Bench.of(seed, folder)
        start = imitate(bench, scale, seed, mistakes=mistakes)
        for name, contestant in CONTESTANTS.items():
            began = time.perf_counter()
            curve, solved = practise(bench, start, contestant, scale, seed)
            curves[name].append(curve)
            for task, success in solved.items():
                ends[name].setdefault(task, []).append(success)
            said = [round(point["success"], 3) for point in curve]
            seconds = time.perf_counter() - began
            print(f"{mistakes:.0%}, seed {seed}, {name}: {said}, {seconds:.0f} s", flush=True)
    return [
        {"mistakes": mistakes, **row(name, curves[name], ends[name], ends[PLAIN])}
        for name in CONTESTANTS
    ]


def row(
    name: str,
    curves: Sequence[Sequence[dict[str, float]]],
    ends: dict[str, list[float]],
    plain: dict[str, list[float]],
) -> dict[str, Any]:
    """What a contestant came to; intervals resample held-out tasks with the seeds of each."""
    against = None if ends is plain else paired_bootstrap(plain, ends)
    ci = clustered_bootstrap(ends)
    return {
        "contestant": name,
        "success_start": round(fmean(curve[0]["success"] for curve in curves), 3),
        "success": round(fmean(v for values in ends.values() for v in values), 3),
        "success_ci95": None if ci is None else [round(bound, 3) for bound in ci],
        "success_by_seed": [round(curve[-1]["success"], 3) for curve in curves],
        "success_mean": round(fmean(p["success"] for curve in curves for p in curve[1:]), 3),
        "curve": [
            {
                "update": points[0]["update"],
                "success": round(fmean(p["success"] for p in points), 3),
            }
            for points in zip(*curves, strict=True)
        ],
        "gain": None if against is None else round(against.difference, 3),
        "gain_ci95": None if against is None else [round(bound, 3) for bound in against.ci],
    }


def goals(rows: Sequence[dict[str, Any]]) -> list[Goal]:
    """From the hard start: labels help, and the default is not behind the reference's scheme."""
    found = {each["contestant"]: each for each in rows if each["mistakes"] == max(MISTAKES)}

    def low(name: str) -> float | None:
        ci = found[name]["gain_ci95"]
        return None if ci is None else ci[0]

    ahead = found["separate"]["success"] - found["step_bucket"]["success"]
    return [
        Goal("success gained by labels by rules", ">=", 0.05, found["separate"]["gain"], "share"),
        Goal("its lower 95 % bound", ">=", 0.0, low("separate"), "share"),
        Goal(
            "success gained by corrected labels",
            ">=",
            0.05,
            found["separate, corrected"]["gain"],
            "share",
        ),
        Goal("its lower 95 % bound, corrected", ">=", 0.0, low("separate, corrected"), "share"),
        Goal("separate ahead of step_bucket", ">=", 0.0, round(ahead, 3), "share"),
    ]


def main() -> None:
    """Train, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    scale = QUICK if options.quick else FULL
    rows = measure(scale)
    write_result(
        "process_labels_quick" if options.quick else "process_labels",
        rows,
        goals(rows),
        command=" ".join(["python benchmarks/process_labels.py", *sys.argv[1:]]),
        notes={
            "success": "share of held-out tasks solved at the first attempt, drawn at temperature "
            f"1, after {scale.updates} updates of {scale.tasks} tasks x {scale.group} attempts; "
            "mean over seeds",
            "success_ci95": "tasks resampled with all their seeds, 2000 times",
            "gain": "success less that of outcome only, same tasks and seeds; paired interval",
            "contestants": "one credit each (clawjax.learner.credit.steps), all else equal: the "
            "outcome's advantage is GRPO's over the attempts at a task; process weight "
            f"{WEIGHT:g}, of step_bucket 1 as in OpenClaw-RL",
            "labels": "by rules unless corrected; a step's worth is the mean of its aspects",
            "mistakes": "of the clerk that was imitated at first, a share of the calls; for "
            f"{scale.imitation} steps",
            "corrected": "names, arguments, order and progress labelled by the solution, as people "
            "would correct them",
        },
    )


if __name__ == "__main__":
    main()
