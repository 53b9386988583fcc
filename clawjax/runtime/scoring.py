"""What a run or an evaluation is worth, as one number: while it comes, and at the end.

Owns `score.json` and the keys `evaluation/*`, which sweeps read. Invariant: the last
`evaluation/score` is the score in the file, and a run that has not finished has no file.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from statistics import fmean

from clawjax.config import RunConfig
from clawjax.metrics.jsonl import JsonlMonitor
from clawjax.metrics.wandb import WandbMirror
from clawjax.protocols import Monitor
from clawjax.runtime.paths import RunPaths, write_json

__all__ = ["RunningScore", "finish", "mirror"]


class RunningScore:
    """The mean so far, recorded after each part of an evaluation."""

    def __init__(self, monitor: Monitor) -> None:
        """Record to `monitor`."""
        self._monitor = monitor
        self._values: list[float] = []
        self._parts = 0

    def add(self, value: float | None) -> None:
        """One more episode or trial; None is unscored: it counts as a part, and in no mean."""
        self._parts += 1
        if value is not None:
            self._values.append(value)
        if self._values:
            mean = fmean(self._values)
            self._monitor.log({"evaluation/score": mean, "evaluation/parts": self._parts})


def finish(paths: RunPaths, scores: Sequence[float | None]) -> float | None:
    """Keep the score: the mean of its parts, None (and no file) where one of them has none."""
    known = [score for score in scores if score is not None]
    if not known or len(known) < len(scores):
        return None
    score = fmean(known)
    monitor = JsonlMonitor(paths.metrics, source="evaluation")
    try:
        monitor.log({"evaluation/score": score})
    finally:
        monitor.close()
    write_json(paths.score, {"score": score})
    return score


def mirror(config: RunConfig, paths: RunPaths) -> None:
    """Send an evaluation that is over to W&B, where that is configured."""
    settings = {
        name: dataclasses.asdict(getattr(config, name))
        for name in ("model", "engine", "learner", "objective", "reward", "suite", "agent", "user")
    }
    begun = WandbMirror.start(
        paths.root,
        settings,
        mode=config.monitor.wandb.value,
        project=config.monitor.wandb_project,
        name=config.run.name,
    )
    if begun is not None:
        begun.finish()
