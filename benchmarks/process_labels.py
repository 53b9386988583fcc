"""Do labels of single steps teach a task of several calls faster than its outcome alone?

    python benchmarks/process_labels.py [--quick] [--seeds 0,1,2] [--arms outcome_only,separate]
    python benchmarks/process_labels.py --measure-only --seeds 0

A tiny model (two layers, all weights trained) checks guests in at a front desk: four calls in the
right order, each with an argument from the request or from a result (`clawjax.envs.front_desk`).
It has imitated a clerk who is wrong in 30 % of the calls, or in 55 %, and then practises: 8 tasks
an update, 6 attempts each, equal for all contestants. Labels are made by rules, without knowing the
solution (`clawjax.rewards.steps`), or corrected by somebody who knows it. Held-out tasks pair
guests with rooms that no training task has. Three seeds; about 25 minutes on two cores. `--quick`
takes one update of one seed. A trial that was measured is kept, and the same command goes on;
`--measure-only` writes no result, so that processes can share the seeds, and the command without it
gathers. SmolLM2-135M, which the other benchmarks train, would take over three days (see the notes).
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from _desk_practice import (
    COMMON,
    MODEL,
    Bench,
    Contestant,
    Scale,
    Solved,
    imitate,
    measured,
    practise,
)
from _result import Goal, smallest, write_result
from _trials import begun_anew, digest, kept, parsed_arms

from clawjax.config import StepScheme
from clawjax.evals.bootstrap import bootstrap_crossed
from clawjax.models.transformer import Params

ROOT = Path(__file__).resolve().parents[1]
RUNS = Path(os.environ.get("CLAWJAX_RUNS", ROOT / "runs"))
MISTAKES = (0.3, 0.55)
"""Of the clerk, for an easy start and a hard one."""
WEIGHT = 1.0
LEAST_SEEDS = 3

FULL = Scale(imitation=250, updates=40, tasks=8, group=6, held_out=64, every=10)
QUICK = Scale(imitation=5, updates=1, tasks=2, group=2, held_out=4, every=1)

PLAIN = "outcome_only"
CONTESTANTS = {
    PLAIN: Contestant(StepScheme.separate, 0.0),
    "separate": Contestant(StepScheme.separate, WEIGHT),
    "separate_corrected": Contestant(StepScheme.separate, WEIGHT, is_corrected=True),
    "pooled": Contestant(StepScheme.pooled, WEIGHT),
    "step_bucket": Contestant(StepScheme.step_bucket, 1.0),
}
"""By name; the first is what the others have to beat."""


class Desk:
    """Trials from one start and seed, which is imitated once, and only where one is missing."""

    def __init__(self, folder: Path, scale: Scale, seed: int, *, mistakes: float) -> None:
        """Prepare.

        Args:
            folder: of the run.
            scale: how much is done.
            seed: of model, tasks and replies.
            mistakes: of the clerk.
        """
        self._folder = folder
        self._scale = scale
        self._seed = seed
        self._mistakes = mistakes
        self._imitated: tuple[Bench, Params] | None = None

    def trial(self, name: str) -> dict[str, Any]:
        """A contestant's, from disk where it was measured before: its curve and last successes."""
        contestant = CONTESTANTS[name]
        before = self._kept("start", {}, lambda: {"solved": self._measured_start()})["solved"]

        def measure() -> dict[str, Any]:
            bench, start = self._start()
            began = time.perf_counter()
            curve, solved = practise(bench, start, contestant, self._scale, self._seed)
            seconds = round(time.perf_counter() - began, 1)
            return {"curve": curve, "solved": solved, "seconds": seconds}

        found = self._kept(
            name, {"objective": contestant.objective, "corrected": contestant.is_corrected}, measure
        )
        found["curve"] = [{"update": 0, "success": fmean(before.values())}, *found["curve"]]
        said = [round(point["success"], 3) for point in found["curve"]]
        print(f"{self._mistakes:.0%}, seed {self._seed}, {name}: {said}", flush=True)
        return found

    def _kept(
        self, name: str, own: dict[str, Any], measure: Callable[[], dict[str, Any]]
    ) -> dict[str, Any]:
        what = {"mistakes": self._mistakes, "seed": self._seed}
        file = self._folder / "trials" / f"{self._mistakes}-{self._seed}-{name}.json"
        settings = digest({**what, "scale": self._scale._asdict(), **COMMON, **own})
        return kept(file, settings, lambda: {**what, "name": name, **measure()})

    def _measured_start(self) -> Solved:
        bench, start = self._start()
        return measured(bench, start, self._scale, self._seed, version=0)

    def _start(self) -> tuple[Bench, Params]:
        if self._imitated is None:
            failed = self._folder / "failed" / f"{self._mistakes}-{self._seed}-{os.getpid()}"
            bench = Bench.of(self._seed, begun_anew(failed))
            start = imitate(bench, self._scale, self._seed, mistakes=self._mistakes)
            self._imitated = bench, start
        return self._imitated


def measure(
    folder: Path, scale: Scale, seeds: Sequence[int], arms: Sequence[str]
) -> list[dict[str, Any]]:
    """A row per start and contestant; trials on disk are not measured again."""
    trials: dict[tuple[float, str], list[dict[str, Any]]] = {}
    for seed in seeds:
        for mistakes in MISTAKES:
            desk = Desk(folder, scale, seed, mistakes=mistakes)
            for name in arms:
                trials.setdefault((mistakes, name), []).append(desk.trial(name))
    return [
        {"mistakes": mistakes, **row(name, own, trials.get((mistakes, PLAIN)))}
        for (mistakes, name), own in sorted(trials.items(), key=lambda each: each[0][0])
    ]


def row(
    name: str, own: Sequence[dict[str, Any]], plain: Sequence[dict[str, Any]] | None
) -> dict[str, Any]:
    """What a contestant came to.

    Args:
        name: of the contestant.
        own: its trials, by seed.
        plain: those of outcome only, by the same seeds; None where they were not measured.
    """
    curves = [trial["curve"] for trial in own]
    ends = [list(trial["solved"].values()) for trial in own]
    gains = None
    if plain is not None and name != PLAIN:
        gains = [
            [trial["solved"][task] - before for task, before in beside["solved"].items()]
            for trial, beside in zip(own, plain, strict=True)
        ]
    return {
        "contestant": name,
        "seeds": [trial["seed"] for trial in own],
        "success_start": round(fmean(curve[0]["success"] for curve in curves), 3),
        "success": round(fmean(map(fmean, ends)), 3),
        "success_ci95": rounded(bootstrap_crossed(ends)),
        "success_by_seed": [round(curve[-1]["success"], 3) for curve in curves],
        "success_mean": round(fmean(p["success"] for curve in curves for p in curve[1:]), 3),
        "curve": [
            {
                "update": points[0]["update"],
                "success": round(fmean(p["success"] for p in points), 3),
            }
            for points in zip(*curves, strict=True)
        ],
        "gain": None if gains is None else round(fmean(map(fmean, gains)), 3),
        "gain_ci95": None if gains is None else rounded(bootstrap_crossed(gains)),
        "minutes": round(sum(trial["seconds"] for trial in own) / 60, 1),
        "git_sha": sorted({str(trial["git_sha"]) for trial in own}),
    }


def rounded(bounds: Sequence[float]) -> list[float]:
    """To three digits."""
    return [round(bound, 3) for bound in bounds]


def goals(rows: Sequence[dict[str, Any]]) -> list[Goal]:
    """From the hard start: labels help, and the default is not behind the reference's scheme.

    What was not measured is not met.
    """
    found = {each["contestant"]: each for each in rows if each["mistakes"] == max(MISTAKES)}

    def gain(name: str) -> float | None:
        return found[name]["gain"] if name in found else None

    def low(name: str) -> float | None:
        return None if gain(name) is None else found[name]["gain_ci95"][0]

    ahead = None
    if "separate" in found and "step_bucket" in found:
        ahead = round(found["separate"]["success"] - found["step_bucket"]["success"], 3)
    corrected = "separate_corrected"
    seeds = smallest(len(each["seeds"]) for each in rows)
    return [
        Goal("success gained by labels by rules", ">=", 0.05, gain("separate"), "share"),
        Goal("its lower 95 % bound", ">=", 0.0, low("separate"), "share"),
        Goal("success gained by corrected labels", ">=", 0.05, gain(corrected), "share"),
        Goal("its lower 95 % bound, corrected", ">=", 0.0, low(corrected), "share"),
        Goal("separate ahead of step_bucket", ">=", 0.0, ahead, "share"),
        Goal("seeds", ">=", LEAST_SEEDS, seeds, "fewest of a start and contestant"),
    ]


def parsed(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    return parsed_arms(__doc__, tuple(CONTESTANTS), arguments)


def main() -> None:
    """Train, measure, write."""
    options = parsed()
    scale = QUICK if options.quick else FULL
    name = "process_labels_quick" if options.quick else "process_labels"
    rows = measure(RUNS / (options.run_name or name), scale, options.seeds, options.arms)
    if options.measure_only:
        return
    write_result(
        name,
        rows,
        goals(rows),
        command="python benchmarks/process_labels.py" + (" --quick" if options.quick else ""),
        notes=notes(scale),
    )


def notes(scale: Scale) -> dict[str, str]:
    """Definitions that the numbers need."""
    return {
        "model": f"{MODEL.path} from scratch, not the SmolLM2-135M of the other benchmarks: what "
        "is shown holds for ways to give credit, not for a language model. Practice is 30 trials x "
        "40 updates x 48 attempts x about 5 calls; told in words, with the tools, a call is some "
        "300 tokens, and SmolLM2 is trained with about 300 tokens a second on two cores "
        "(train_step): over three days, without drawing replies and what is imitated first",
        "success": "share of held-out tasks solved at the first attempt, drawn at temperature "
        f"1, after {scale.updates} updates of {scale.tasks} tasks x {scale.group} attempts; "
        "mean over seeds",
        "success_ci95": "95 % bootstrap interval, for which seeds are drawn, and tasks, the same "
        "ones for all seeds; too narrow, as three seeds are few",
        "gain": "success less that of outcome_only, same tasks and seeds; gain_ci95: as above",
        "contestants": "one credit each (clawjax.learner.credit.steps), all else equal: the "
        "outcome's advantage is GRPO's over the attempts at a task; process weight "
        f"{WEIGHT:g}, of step_bucket 1 as in OpenClaw-RL",
        "labels": "by rules unless corrected; a step's worth is the mean of its aspects",
        "mistakes": "of the clerk that was imitated at first, a share of the calls; for "
        f"{scale.imitation} steps",
        "corrected": "names, arguments, order and progress labelled by the solution, as people "
        "would correct them",
    }


if __name__ == "__main__":
    main()
