"""What a run or an evaluation is worth, as one number: while it comes, and at the end.

Owns `score.json` and the keys `evaluation/*`, which sweeps read. Invariant: the last
`evaluation/score` is the score in the file, and a run that has not finished has no file.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from statistics import fmean
from typing import Any

from clawjax.config import RunConfig
from clawjax.metrics.jsonl import JsonlMonitor
from clawjax.metrics.mirroring import Mirroring
from clawjax.metrics.wandb import WandbMirror
from clawjax.protocols import Monitor
from clawjax.runtime.paths import RunPaths, write_json

__all__ = ["RunningScore", "finish", "mirrored", "mirrored_scores", "unscored"]

_SHOWN = (
    "model", "engine", "learner", "objective", "reward", "suite", "agent", "user", "offline",
)  # fmt: skip
"""Settings that W&B shows."""


class RunningScore:
    """The mean so far, recorded after each part of an evaluation."""

    def __init__(self, monitor: Monitor, forward: Callable[[], object] = lambda: None) -> None:
        """Record to `monitor`, and call `forward` after each record."""
        self._monitor, self._forward = monitor, forward
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
            self._forward()


@contextmanager
def unscored(paths: RunPaths) -> Iterator[None]:
    """Hold the folder for this process, without the score that an earlier start left in it.

    Raises:
        ConfigError: another process holds it.
    """
    with paths.locked():
        paths.score.unlink(missing_ok=True)
        yield


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


def mirrored(config: RunConfig, paths: RunPaths, settings: Mapping[str, Any]) -> Mirroring:
    """W&B beside a run, where that is configured, shown with its settings."""
    return Mirroring(
        lambda: WandbMirror.start(
            paths.root,
            settings,
            mode=config.monitor.wandb.value,
            project=config.monitor.wandb_project,
            name=config.run.name,
        )
    )


@contextmanager
def mirrored_scores(config: RunConfig, paths: RunPaths) -> Iterator[Callable[[], object]]:
    """W&B beside what is scored, where that is configured; what is yielded sends what is new.

    Called after each score, so that a sweep of W&B can end a trial before it is over.
    """
    settings = {name: dataclasses.asdict(getattr(config, name)) for name in _SHOWN}
    with mirrored(config, paths, settings) as mirroring:
        yield mirroring.forward
