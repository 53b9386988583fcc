"""Knobs of a sweep: what it tries, how often, and by which rule. Optuna draws and prunes."""

from __future__ import annotations

from dataclasses import dataclass, field

from clawjax.config.checks import at_least, require

__all__ = ["PRUNERS", "SAMPLERS", "SweepConfig", "SweepRoot"]

SAMPLERS = ("tpe", "random", "grid")
PRUNERS = ("none", "median", "hyperband")


@dataclass
class SweepConfig:
    """`sweep.*` of `experiments/sweep.py`."""

    name: str = "sweep"
    """Of the study."""
    dir: str = "${oc.env:CLAWJAX_RUNS,runs}/sweeps/${sweep.name}"
    """The sweep's folder: study, trials, summary. The same command goes on with it."""
    storage: str | None = None
    """Optuna's storage, for several machines with one study; null: SQLite in the folder. Each
    machine has a folder of its own."""
    entry: str = "experiments/evaluate.py"
    """The program of a trial. It gets the trial's overrides and `hydra.run.dir=FOLDER` (in Hydra's
    quotes where the name needs them), and leaves `score.json` there; what it writes to
    `metrics.jsonl` on the way can have it pruned."""
    fixed: list[str] = field(default_factory=list)
    """Overrides of every trial."""
    space: dict[str, str] = field(default_factory=dict)
    """By key, in Hydra's grammar: `choice(a, b)`, `range(1, 9, 2)`, `interval(0, 1)`,
    `int(interval(1, 8))`, `tag(log, interval(1e-5, 1e-2))`."""
    trials: int = 20
    """Trials that end with a score or pruned; failed ones do not count."""
    jobs: int = 1
    """Trials at once, each a process."""
    minimise: bool = False
    sampler: str = "tpe"
    """`tpe`, `random` or `grid`."""
    pruner: str = "median"
    """`median`, `hyperband` or `none`."""
    seed: int = 0
    pruner_trials: int = 4
    """Trials before the median prunes."""
    pruner_steps: int = 2
    """Intermediate scores of a trial before the median prunes it."""
    timeout_s: float = 24 * 3600.0
    """Of one trial; one that takes longer has failed."""
    retries: int = 2
    """How often a trial is begun again that was cut off together with the sweep."""
    max_failures: int = 3
    """Trials in a row that fail before the sweep gives up."""

    def __post_init__(self) -> None:
        """Reject what cannot be swept."""
        for key, known in (("sampler", SAMPLERS), ("pruner", PRUNERS)):
            value = getattr(self, key)
            require(value in known, f"sweep.{key}={value!r} is unknown: use {', '.join(known)}")
        at_least("sweep.trials", self.trials, 1)
        at_least("sweep.jobs", self.jobs, 1)
        at_least("sweep.pruner_trials", self.pruner_trials, 0)
        at_least("sweep.pruner_steps", self.pruner_steps, 0)
        at_least("sweep.timeout_s", self.timeout_s, 1.0)
        at_least("sweep.retries", self.retries, 0)
        at_least("sweep.max_failures", self.max_failures, 1)


@dataclass
class SweepRoot:
    """The whole of `conf/sweep.yaml`."""

    sweep: SweepConfig = field(default_factory=SweepConfig)
