"""Every knob, its default and its unit: one dataclass per Hydra group.

These are Hydra's schema (typos fail with the key named) and, after `to_run_config`, plain Python
objects; no `DictConfig` lives below the entry point. Defaults live here and only here; the files
under `conf/` hold named variants.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from clawjax.errors import ConfigError

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


def require(condition: bool, message: str) -> None:
    """Raise `ConfigError` with a message that names value, limit and fix."""
    if not condition:
        raise ConfigError(message)


def at_least(name: str, value: float, minimum: float) -> None:
    """Check one number."""
    require(value >= minimum, f"{name}={value} is too small: the minimum is {minimum}")


def within(name: str, value: float, low: float, high: float) -> None:
    """Check one number against a closed range."""
    require(low <= value <= high, f"{name}={value} is out of range: use {low} to {high}")


@dataclass
class ModelConfig:
    """Which policy."""

    name: str = "smollm2-135m-instruct"
    """What `/v1/models` calls it."""
    path: str = "smollm2"
    """A GGUF file, a Hugging Face directory or hub id, `smollm2` (the packaged default model),
    or `random:<family>` (a tiny random model: llama, qwen2 or qwen3)."""
    revision: str | None = None
    """Hub revision."""
    context_length: int = 2048
    """Tokens of prompt and reply together; never above what the model was trained for."""

    def __post_init__(self) -> None:
        """Reject what cannot be served."""
        require(bool(self.path), "model.path is empty: name a GGUF file or a model directory")
        at_least("model.context_length", self.context_length, 64)


@dataclass
class EngineConfig:
    """The embedded engine. All shapes are fixed at start-up."""

    kind: str = "embedded"
    slots: int = 8
    """Requests decoded together."""
    max_waiting: int = 256
    """Requests queued beyond the slots; more are refused with 503 and Retry-After."""
    prefill_chunk: int = 128
    """Prompt tokens processed between two decode steps."""
    live_buckets: list[int] = field(default_factory=lambda: [256, 512, 1024, 2048])
    """Cache lengths that attention is compiled for; those above the context are ignored."""
    max_response_tokens: int = 512
    """Reply length where the client names none."""
    temperature: float = 0.8
    """Temperature where the client names none."""
    top_p: float = 1.0
    warm_up: bool = True
    """Compile every shape before the first request."""
    compilation_cache: str | None = "~/.cache/clawjax/xla"
    """Where compiled programs are kept between runs; null keeps none."""
    poll_weights_s: float = 0.25
    """How often `LATEST` is looked at."""

    def __post_init__(self) -> None:
        """Reject what cannot be served."""
        require(
            self.kind == "embedded",
            f"engine.kind={self.kind!r} is unknown: use engine=embedded",
        )
        at_least("engine.slots", self.slots, 1)
        at_least("engine.max_waiting", self.max_waiting, 0)
        at_least("engine.prefill_chunk", self.prefill_chunk, 1)
        at_least("engine.max_response_tokens", self.max_response_tokens, 1)
        within("engine.temperature", self.temperature, 0.0, 2.0)
        within("engine.top_p", self.top_p, 1e-6, 1.0)
        require(bool(self.live_buckets), "engine.live_buckets is empty: give at least one length")


@dataclass
class GatewayConfig:
    """The HTTP endpoint."""

    host: str = "127.0.0.1"
    port: int = 30000
    api_key_env: str = "CLAWJAX_API_KEY"
    """Environment variable holding the bearer key; the key itself is never in a config."""
    session_idle_s: float = 900.0
    """A session with no request for so long is closed."""
    request_timeout_s: float = 600.0
    """A reply that takes longer is ended and its turn kept as cancelled."""
    default_turn_kind: str = "main"
    """What a request without `X-Turn-Type` is."""
    max_body_bytes: int = 16_777_216

    def __post_init__(self) -> None:
        """Reject what cannot be bound."""
        within("gateway.port", self.port, 0, 65535)
        at_least("gateway.session_idle_s", self.session_idle_s, 1)
        at_least("gateway.request_timeout_s", self.request_timeout_s, 1)
        require(
            self.default_turn_kind in ("main", "side"),
            f"gateway.default_turn_kind={self.default_turn_kind!r}: use main or side",
        )


@dataclass
class LogConfig:
    """The turn log."""

    url: str = "sqlite:///${run.dir}/turns.db"
    busy_timeout_s: float = 30.0


@dataclass
class RulesConfig:
    """Programmatic checks of the reply; the score is the weighted mean of those switched on."""

    max_words: int | None = None
    min_words: int | None = None
    max_paragraphs: int | None = None
    forbid_lists: bool = False
    language: str | None = None
    """ISO 639-1 code the reply has to be in, judged by script and stop words."""
    must_match: str | None = None
    """Regular expression that has to be found."""
    must_not_match: str | None = None
    is_json: bool = False
    exact_answer: str | None = None
    """The reply's last number, boxed expression or whole text has to equal this."""
    weights: dict[str, float] = field(default_factory=dict)
    """Weight per check by the names above; 1 where absent."""


@dataclass
class NextStateConfig:
    """Judges the user's reaction with a model that runs here."""

    confidence: float = 0.75
    """Below this probability the judge abstains."""

    def __post_init__(self) -> None:
        """A threshold is a probability."""
        within("reward.next_state.confidence", self.confidence, 0.5, 1.0)


@dataclass
class LlmJudgeConfig:
    """Asks an OpenAI-compatible endpoint."""

    base_url: str = "http://127.0.0.1:30000/v1"
    model: str = "policy"
    api_key_env: str = "CLAWJAX_JUDGE_API_KEY"
    votes: int = 3
    temperature: float = 0.6
    max_tokens: int = 512
    timeout_s: float = 60.0
    retries: int = 2
    max_concurrency: int = 4

    def __post_init__(self) -> None:
        """Reject what cannot vote."""
        at_least("reward.llm_judge.votes", self.votes, 1)
        at_least("reward.llm_judge.timeout_s", self.timeout_s, 0.1)
        at_least("reward.llm_judge.max_concurrency", self.max_concurrency, 1)
        at_least("reward.llm_judge.retries", self.retries, 0)


@dataclass
class RewardConfig:
    """Where reward comes from. Explicit feedback always wins over the other modules."""

    modules: list[str] = field(default_factory=lambda: ["next_state", "feedback"])
    """Names (rules, next_state, llm_judge, feedback) or import paths `package.module:factory`."""
    weights: dict[str, float] = field(default_factory=dict)
    """Weight per module where several score a turn; 1 where absent."""
    max_concurrency: int = 4
    judge_timeout_s: float = 120.0
    rules: RulesConfig = field(default_factory=RulesConfig)
    next_state: NextStateConfig = field(default_factory=NextStateConfig)
    llm_judge: LlmJudgeConfig = field(default_factory=LlmJudgeConfig)

    def __post_init__(self) -> None:
        """Nothing to learn from is a mistake."""
        require(bool(self.modules), "reward.modules is empty: name at least one module")
        at_least("reward.judge_timeout_s", self.judge_timeout_s, 0.1)


class Baseline(StrEnum):
    """What is subtracted from a score."""

    none = "none"
    batch_mean = "batch_mean"
    """Mean of the batch's scores."""
    leave_one_out = "leave_one_out"
    """Mean of the other scores in the batch."""
    ema = "ema"
    """Exponential moving average of past scores."""


@dataclass
class ObjectiveConfig:
    """What is maximised."""

    name: str = "binary_rl"
    baseline: Baseline = Baseline.ema
    ema_decay: float = 0.9
    """Per batch."""
    clip_low: float = 0.2
    clip_high: float = 0.28
    ratio_cap: float = 2.0
    """Truncation of the importance ratio against the sampler."""
    kl_coef: float = 0.02
    """Weight of the KL to the base model, per token."""

    def __post_init__(self) -> None:
        """Reject objectives that cannot run as configured."""
        require(
            self.name == "binary_rl",
            f"objective.name={self.name!r} is unknown: use binary_rl",
        )
        within("objective.ema_decay", self.ema_decay, 0.0, 1.0)
        within("objective.clip_low", self.clip_low, 0.0, 1.0)
        at_least("objective.clip_high", self.clip_high, 0.0)
        at_least("objective.kl_coef", self.kl_coef, 0.0)
        require(
            self.ratio_cap >= 1 + self.clip_high,
            f"objective.ratio_cap={self.ratio_cap} truncates inside the clip range: "
            f"set it to at least 1 + clip_high = {1 + self.clip_high}",
        )


@dataclass
class LoraConfig:
    """Low-rank adapters (arXiv:2106.09685) on linear layers."""

    rank: int = 16
    alpha: float = 32.0
    targets: list[str] = field(
        default_factory=lambda: [
            "q_proj",
            "k_proj",
            "v_proj",
            "o_proj",
            "gate_proj",
            "up_proj",
            "down_proj",
        ]
    )

    def __post_init__(self) -> None:
        """Reject adapters that adapt nothing."""
        at_least("learner.lora.rank", self.rank, 1)
        require(bool(self.targets), "learner.lora.targets is empty: name at least one layer")


@dataclass
class LearnerConfig:
    """When a step starts and how it updates."""

    method: str = "lora"
    """`lora` or `full`."""
    lora: LoraConfig = field(default_factory=LoraConfig)
    batch_turns: int = 16
    """A step starts when so many judged turns wait ..."""
    min_turns: int = 4
    """... or at least so many do, and either"""
    max_wait_s: float = 120.0
    """the oldest has waited so long, or"""
    idle_s: float = 30.0
    """no request has arrived for so long."""
    max_staleness: int = 4
    """Versions between sampling and training; staler turns are dropped."""
    max_tokens: int = 2048
    """Longer turns are dropped."""
    micro_batch_tokens: int = 1024
    """Padded tokens per forward and backward pass."""
    length_buckets: list[int] = field(default_factory=lambda: [128, 256, 512, 1024, 2048])
    """Sequence lengths that the step is compiled for."""
    learning_rate: float = 3e-4
    weight_decay: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.95
    max_grad_norm: float = 1.0
    max_steps: int | None = None
    """Stop training (not serving) after so many steps."""
    keep_checkpoints: int = 2
    poll_s: float = 0.25
    nice: int = 5
    """CPU niceness of the learner's process, so that serving goes first."""
    max_mismatch: float = 0.05
    """Mean |log-prob difference| to the sampler at one version above which the run stops."""

    def __post_init__(self) -> None:
        """Reject steps that can never start."""
        require(
            self.method in ("lora", "full"),
            f"learner.method={self.method!r} is unknown: use lora or full",
        )
        at_least("learner.batch_turns", self.batch_turns, 1)
        require(
            1 <= self.min_turns <= self.batch_turns,
            f"learner.min_turns={self.min_turns} must be between 1 and "
            f"learner.batch_turns={self.batch_turns}",
        )
        at_least("learner.max_staleness", self.max_staleness, 0)
        at_least("learner.learning_rate", self.learning_rate, 0.0)
        at_least("learner.keep_checkpoints", self.keep_checkpoints, 1)
        require(
            max(self.length_buckets, default=0) >= self.max_tokens,
            f"learner.length_buckets end at {max(self.length_buckets, default=0)}, below "
            f"learner.max_tokens={self.max_tokens}: add a bucket or lower max_tokens",
        )


class WandbMode(StrEnum):
    """Where W&B runs go."""

    auto = "auto"
    """Online where a key is set, offline otherwise."""
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
    live: bool = True
    """A live view where there is a terminal; plain lines where there is none."""


@dataclass
class UserConfig:
    """A simulated user in a process of its own, talking to the endpoint like anybody else."""

    enabled: bool = False
    persona: str = "brief"
    """A persona shipped with clawjax, or the path of a persona file."""
    updates: int = 8
    """Stop once the policy has been updated so often ..."""
    max_turns: int = 240
    """... or after so many turns."""
    max_seconds: float = 600.0
    """... or after so long."""
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
        at_least("user.concurrency", self.concurrency, 1)
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
    max_restarts: int = 5
    """How often a loop's process is started again after it died."""


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

    def __post_init__(self) -> None:
        """Check what no group can check alone."""
        require(
            self.engine.max_response_tokens < self.model.context_length,
            f"engine.max_response_tokens={self.engine.max_response_tokens} leaves no room for a "
            f"prompt in model.context_length={self.model.context_length}: lower it",
        )
        if self.user.enabled:
            require(
                self.user.updates <= (self.learner.max_steps or self.user.updates),
                f"user.updates={self.user.updates} waits for more steps than "
                f"learner.max_steps={self.learner.max_steps} allows",
            )


def to_run_config(config: DictConfig | dict[str, Any]) -> RunConfig:
    """Merge onto the schema, resolve interpolations and validate.

    Raises:
        ConfigError: an unknown key, a wrong type, or values that contradict each other.
    """
    try:
        merged = OmegaConf.merge(OmegaConf.structured(RunConfig), config)
        run_config = OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        cause = error.__cause__ or error.__context__
        if isinstance(cause, ConfigError):
            raise cause from error
        raise ConfigError(str(error)) from error
    assert isinstance(run_config, RunConfig)
    return run_config
