"""The whole configuration, and what belongs to the run itself."""

from __future__ import annotations

import copy
import functools
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from clawjax.config.checks import at_least, at_least_or_null, require, within
from clawjax.config.databases import file_url
from clawjax.config.evaluating import AgentConfig, SuiteConfig
from clawjax.config.hardware import HardwareConfig
from clawjax.config.learning import LearnerConfig
from clawjax.config.objective import ObjectiveConfig
from clawjax.config.offline import OfflineConfig
from clawjax.config.rewarding import RewardConfig
from clawjax.config.serving import EngineConfig, GatewayConfig, LogConfig, ModelConfig
from clawjax.config.shape import check_shape
from clawjax.config.synthesizing import SynthesisConfig
from clawjax.errors import ConfigError

__all__ = [
    "MonitorConfig",
    "RunConfig",
    "RunSection",
    "UserConfig",
    "WandbMode",
    "hydra_schema",
    "to_run_config",
]


class WandbMode(StrEnum):
    """Where W&B runs go."""

    auto = "auto"
    """As `WANDB_MODE` says, else online where a key is set, offline otherwise."""
    online = "online"
    offline = "offline"
    disabled = "disabled"


@dataclass
class MonitorConfig:
    """Where metrics go besides `metrics.jsonl`, which is always written."""

    wandb: WandbMode = WandbMode.disabled
    wandb_project: str = "clawjax"
    interval_s: float = 5.0
    """How often gauges (queue depths, tokens per second) are recorded."""
    max_file_mib: float | None = 64.0
    """`metrics.jsonl`, and each log in `logs/`, is set aside when it has so many MiB, in place of
    the one set aside before (`metrics.1.jsonl`, `serve.1.log`). Null lets them grow."""
    live: bool = True
    """A live view where there is a terminal; plain lines where there is none."""

    def __post_init__(self) -> None:
        """Gauges have a pace, and files have room for a line."""
        at_least("monitor.interval_s", self.interval_s, 0.1)
        at_least_or_null("monitor.max_file_mib", self.max_file_mib, 0.01)

    @property
    def max_file_bytes(self) -> int | None:
        """The same in bytes."""
        return None if self.max_file_mib is None else int(self.max_file_mib * 2**20)


@dataclass
class UserConfig:
    """A simulated user in a process of its own, talking to the endpoint like anybody else."""

    enabled: bool = False
    persona: str = "brief"
    """A persona shipped with clawjax, or the path of a persona file."""
    updates: int = 8
    """The user leaves once the policy has been updated so often."""
    max_turns: int = 240
    """The user leaves after so many turns at the latest."""
    max_seconds: float = 600.0
    """The user leaves after so long at the latest."""
    concurrency: int = 4
    """Conversations held at the same time."""
    think_s: float = 4.0
    """Mean pause between reading a reply and reacting to it."""
    temperature: float = 0.8
    max_tokens: int = 160
    held_out: int = 48
    """Held-out prompts scored before and after."""

    def __post_init__(self) -> None:
        """Reject a user who never speaks."""
        at_least("user.updates", self.updates, 1)
        at_least("user.max_turns", self.max_turns, 1)
        at_least("user.max_seconds", self.max_seconds, 1.0)
        at_least("user.concurrency", self.concurrency, 1)
        at_least("user.max_tokens", self.max_tokens, 1)
        within("user.temperature", self.temperature, 0.0, 2.0)
        at_least("user.held_out", self.held_out, 1)
        at_least("user.think_s", self.think_s, 0.0)


@dataclass
class RunSection:
    """Identity of the run."""

    name: str = "serve"
    dir: str = MISSING
    """Everything the run writes. Running again with the same folder resumes."""
    seed: int = 0
    dry: bool = False
    """Compose, validate, print the effective objective and exit."""
    plan: bool = False
    """Print what the run would take of its devices (`hardware`) and exit."""
    max_restarts: int = 5
    """How often a loop, or its process, is started again in a row; ten minutes of life clear the
    count. Then the run ends with its last words; a loop that serving can do without is left stopped
    instead. Trouble with the turn log or the disk does not count."""
    max_restart_wait_s: float = 30.0
    """The first start anew is at once; after that the pause doubles from 1 s up to this."""

    profile_steps: list[int] = field(default_factory=list)
    """Steps of the learner that JAX's profiler traces, into `profile/` of the run's folder."""

    def __post_init__(self) -> None:
        """Reject a number of restarts that is none, and steps that never come."""
        for step in self.profile_steps:
            at_least("run.profile_steps", step, 1)
        at_least("run.max_restarts", self.max_restarts, 0)
        at_least("run.max_restart_wait_s", self.max_restart_wait_s, 0.0)


@dataclass
class RunConfig:
    """The whole configuration; only `clawjax.runtime` sees it."""

    run: RunSection = field(default_factory=RunSection)
    model: ModelConfig = field(default_factory=ModelConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)
    gateway: GatewayConfig = field(default_factory=GatewayConfig)
    log: LogConfig = field(default_factory=LogConfig)
    reward: RewardConfig = field(default_factory=RewardConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    learner: LearnerConfig = field(default_factory=LearnerConfig)
    monitor: MonitorConfig = field(default_factory=MonitorConfig)
    user: UserConfig = field(default_factory=UserConfig)
    suite: SuiteConfig = field(default_factory=SuiteConfig)
    agent: AgentConfig = field(default_factory=AgentConfig)
    offline: OfflineConfig = field(default_factory=OfflineConfig)
    hardware: HardwareConfig = field(default_factory=HardwareConfig)
    synthesis: SynthesisConfig = field(default_factory=SynthesisConfig)

    def __post_init__(self) -> None:
        """Check what no group can check alone, and say where the turn log is."""
        if not self.log.url and self.run.dir != MISSING:
            self.log = replace(self.log, url=file_url(Path(self.run.dir, "turns.db")))
        require(
            self.engine.max_response_tokens < self.model.context_length,
            f"engine.max_response_tokens={self.engine.max_response_tokens} leaves no room for a "
            f"prompt in model.context_length={self.model.context_length}: lower it",
        )
        self._check_signals()
        require(
            not self.objective.is_dpo or self.learner.mini_batch_turns is None,
            f"objective=dpo compares replies across a whole update, which "
            f"learner.mini_batch_turns={self.learner.mini_batch_turns} divides: set it to null",
        )
        require(
            not self.objective.is_dpo or self.learner.epochs == 1,
            "objective=dpo weighs pairs by the policy before the update, which holds for its first "
            f"step only: set learner.epochs={self.learner.epochs} to 1",
        )
        require(
            self.objective.practice.rounds == 0 or self.learner.mesh.is_one_device,
            f"objective.practice.rounds={self.objective.practice.rounds} draws replies on one "
            f"device, learner.mesh has {self.learner.mesh}: set its axes to 1, or "
            "objective.practice.rounds to 0",
        )
        require(
            self.objective.practice.rounds == 0
            or self.objective.practice.blind_share is None
            or self.learner.drift.max_step_reply_kl is not None,
            f"objective.practice.blind_share={self.objective.practice.blind_share} is a share of "
            "learner.drift.max_step_reply_kl, which is null: use experiment=combined, or "
            "learner.drift.max_step_reply_kl=4, or objective.practice.blind_share=null",
        )
        if self.user.enabled:
            require(
                self.user.updates <= (self.learner.max_steps or self.user.updates),
                f"user.updates={self.user.updates} waits for more steps than "
                f"learner.max_steps={self.learner.max_steps} allows",
            )

    def _check_signals(self) -> None:
        """Raises ConfigError: the objective goes by what no reward module says."""
        for signal, is_used, is_given in (
            ("hints", self.objective.uses_hints, self.reward.may_give_hints),
            ("scores", self.objective.needs_scores, self.reward.may_give_scores),
        ):
            require(
                is_given or not is_used,
                f"objective={self.objective.name} learns from {signal}, which none of "
                f"reward.modules={self.reward.modules} gives: add one that does, or use another "
                "objective",
            )
        opd = self.objective.opd
        for setting, is_used in (
            (f"demonstrations={opd.demonstrations}", self.objective.uses_demonstrations),
            ("corrects_praised=false", self.objective.uses_teacher and not opd.corrects_praised),
        ):
            require(
                not is_used or self.reward.may_give_scores,
                f"objective.opd.{setting} goes by whether a reply was praised, which none of "
                f"reward.modules={self.reward.modules} says: add one that gives scores, e.g. "
                "next_state, or leave the setting out",
            )
        require(
            not self.objective.steps.is_on or self.reward.may_label_steps,
            f"objective.steps.scheme={self.objective.steps.scheme.value} credits steps, which none "
            f"of reward.modules={self.reward.modules} labels: add process, or set it to none",
        )


def hydra_schema() -> DictConfig:
    """`RunConfig` as Hydra checks keys against it; who has options of its own checks them."""
    schema = copy.deepcopy(_schema())
    for free in (schema.suite.options, schema.reward.own, schema.objective.credit.options):
        OmegaConf.set_struct(free, False)
    return schema


@functools.cache
def _schema() -> DictConfig:
    """Read from the dataclasses once, which takes longer than all else here; never changed."""
    return OmegaConf.structured(RunConfig)


def to_run_config(config: DictConfig | dict[str, Any]) -> RunConfig:
    """Merge onto the schema, resolve interpolations and validate.

    Raises:
        ConfigError: an unknown key, a wrong type, or values that contradict each other.
    """
    plain = OmegaConf.to_container(config) if isinstance(config, DictConfig) else config
    check_shape(RunConfig, plain)
    try:
        merged = OmegaConf.merge(_schema(), config)
        run_config = OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        cause = error.__cause__ or error.__context__
        if isinstance(cause, ConfigError):
            raise cause from error
        raise ConfigError(str(error)) from error
    assert isinstance(run_config, RunConfig)
    return run_config
