"""Every knob, its default and its unit: one dataclass per Hydra group.

These are Hydra's schema (typos fail with the key named) and, after `to_run_config`, plain Python
objects; no `DictConfig` lives below the entry point. Defaults live here and only here; the files
under `conf/` hold named variants.
"""

from clawjax.config.crediting import CreditConfig
from clawjax.config.delivery import DeliveryConfig
from clawjax.config.devices import (
    AttentionKernel,
    ComputeDtype,
    DistributedConfig,
    MeshConfig,
    Remat,
)
from clawjax.config.evaluating import (
    AGENTS,
    METHODS,
    UNTRAINED,
    AgentConfig,
    EpisodeLimitsConfig,
    EpisodesConfig,
    SuiteConfig,
)
from clawjax.config.guarding import MOST_CHOICES, LimitsConfig
from clawjax.config.hardware import HardwareConfig
from clawjax.config.judging import (
    CompositeConfig,
    CompositeRule,
    ConstitutionConfig,
    HackWatchConfig,
    RewardModelConfig,
    ToolOutcomeConfig,
)
from clawjax.config.learning import DriftConfig, LearnerConfig, LoraConfig
from clawjax.config.linking import LinkingConfig
from clawjax.config.objective import (
    AGAINST_ITSELF,
    GROUPED,
    USES_PROXIMAL,
    Baseline,
    KlEstimator,
    Normalisation,
    ObjectiveConfig,
    OffPolicyConfig,
    OffPolicyPreset,
    PolicyLoss,
)
from clawjax.config.offline import OfflineConfig
from clawjax.config.practising import REMEMBERED, PracticeConfig
from clawjax.config.reviewing import HUMAN, PROCESS, HumanConfig, ProcessConfig
from clawjax.config.rewarding import (
    HINT_MODULES,
    LlmJudgeConfig,
    NextStateConfig,
    RewardConfig,
    RulesConfig,
)
from clawjax.config.running import (
    MonitorConfig,
    RunConfig,
    RunSection,
    UserConfig,
    WandbMode,
    hydra_schema,
    to_run_config,
)
from clawjax.config.serving import EngineConfig, GatewayConfig, LogConfig, ModelConfig
from clawjax.config.sglang import LaunchConfig, SglangConfig
from clawjax.config.stepping import StepAspect, StepScheme, StepsConfig
from clawjax.config.synthesizing import FilterConfig, SynthesisConfig
from clawjax.config.teaching import DpoConfig, HintChoice, OpdConfig, OpdForm, Support, Teacher

__all__ = [
    "AGAINST_ITSELF",
    "AGENTS",
    "GROUPED",
    "HINT_MODULES",
    "HUMAN",
    "METHODS",
    "MOST_CHOICES",
    "PROCESS",
    "REMEMBERED",
    "UNTRAINED",
    "USES_PROXIMAL",
    "AgentConfig",
    "AttentionKernel",
    "Baseline",
    "CompositeConfig",
    "CompositeRule",
    "ComputeDtype",
    "ConstitutionConfig",
    "CreditConfig",
    "DeliveryConfig",
    "DistributedConfig",
    "DpoConfig",
    "DriftConfig",
    "EngineConfig",
    "EpisodeLimitsConfig",
    "EpisodesConfig",
    "FilterConfig",
    "GatewayConfig",
    "HackWatchConfig",
    "HardwareConfig",
    "HintChoice",
    "HumanConfig",
    "KlEstimator",
    "LaunchConfig",
    "LearnerConfig",
    "LimitsConfig",
    "LinkingConfig",
    "LlmJudgeConfig",
    "LogConfig",
    "LoraConfig",
    "MeshConfig",
    "ModelConfig",
    "MonitorConfig",
    "NextStateConfig",
    "Normalisation",
    "ObjectiveConfig",
    "OffPolicyConfig",
    "OffPolicyPreset",
    "OfflineConfig",
    "OpdConfig",
    "OpdForm",
    "PolicyLoss",
    "PracticeConfig",
    "ProcessConfig",
    "Remat",
    "RewardConfig",
    "RewardModelConfig",
    "RulesConfig",
    "RunConfig",
    "RunSection",
    "SglangConfig",
    "StepAspect",
    "StepScheme",
    "StepsConfig",
    "SuiteConfig",
    "Support",
    "SynthesisConfig",
    "Teacher",
    "ToolOutcomeConfig",
    "UserConfig",
    "WandbMode",
    "hydra_schema",
    "to_run_config",
]
