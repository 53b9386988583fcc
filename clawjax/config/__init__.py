"""Every knob, its default and its unit: one dataclass per Hydra group.

These are Hydra's schema (typos fail with the key named) and, after `to_run_config`, plain Python
objects; no `DictConfig` lives below the entry point. Defaults live here and only here; the files
under `conf/` hold named variants.
"""

from clawjax.config.learning import Baseline, LearnerConfig, LoraConfig, ObjectiveConfig
from clawjax.config.rewarding import LlmJudgeConfig, NextStateConfig, RewardConfig, RulesConfig
from clawjax.config.running import (
    MonitorConfig,
    RunConfig,
    RunSection,
    UserConfig,
    WandbMode,
    to_run_config,
)
from clawjax.config.serving import EngineConfig, GatewayConfig, LogConfig, ModelConfig

__all__ = [
    "Baseline",
    "EngineConfig",
    "GatewayConfig",
    "LearnerConfig",
    "LlmJudgeConfig",
    "LogConfig",
    "LoraConfig",
    "ModelConfig",
    "MonitorConfig",
    "NextStateConfig",
    "ObjectiveConfig",
    "RewardConfig",
    "RulesConfig",
    "RunConfig",
    "RunSection",
    "UserConfig",
    "WandbMode",
    "to_run_config",
]
