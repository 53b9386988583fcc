"""Knobs of the judges."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from clawjax.config.checks import at_least, at_least_or_null, finite, require, within
from clawjax.config.judging import (
    CompositeConfig,
    ConstitutionConfig,
    HackWatchConfig,
    RewardModelConfig,
    ToolOutcomeConfig,
)
from clawjax.config.own import read_own
from clawjax.config.reviewing import HUMAN, PROCESS, HumanConfig, ProcessConfig
from clawjax.config.secrets import service_url

__all__ = ["HINT_MODULES", "LlmJudgeConfig", "NextStateConfig", "RewardConfig", "RulesConfig"]


ASKING_MODULES = ("llm_judge", "hindsight", "constitution")
"""They ask the endpoint of `reward.llm_judge`."""
HINT_MODULES = ("quote", "hindsight")
"""The modules that give hints and no scores."""


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

    def __post_init__(self) -> None:
        """Nothing has fewer words than none; what contradicts itself the judge says."""
        at_least_or_null("reward.rules.max_words", self.max_words, 0)
        at_least_or_null("reward.rules.min_words", self.min_words, 0)
        at_least_or_null("reward.rules.max_paragraphs", self.max_paragraphs, 0)


@dataclass
class NextStateConfig:
    """Judges the user's reaction with a model that runs here."""

    confidence: float = 0.7
    """Below this probability the judge abstains."""
    is_graded: bool = False
    """Whether a score is the probability of praise less that of a complaint, instead of its sign:
    what is doubtful then counts for less."""
    adapts: bool = False
    """Whether probabilities are corrected for how often the same user praised and complained."""

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
    """Of one question; less than `reward.judge_timeout_s`, so that a judge that hangs is away."""
    retries: int = 2
    max_concurrency: int = 4
    insists: bool = False
    """Whether an answer without a verdict is answered with a question for the verdict alone, whose
    form the endpoint enforces (`response_format`): small models seldom end as they are told to."""
    examples: int = 0
    """So many turns that people have labelled are shown to the judge before it votes: the newest of
    `examples_file`."""
    examples_file: str = ""
    """Labelled turns, as `clawjax review RUN --export FILE` writes them."""

    def __post_init__(self) -> None:
        """Reject what cannot vote."""
        service_url(
            "reward.llm_judge.base_url", self.base_url, "http://HOST:PORT/v1", self.api_key_env
        )
        at_least("reward.llm_judge.votes", self.votes, 1)
        at_least("reward.llm_judge.max_tokens", self.max_tokens, 1)
        within("reward.llm_judge.temperature", self.temperature, 0.0, 2.0)
        at_least("reward.llm_judge.timeout_s", self.timeout_s, 0.1)
        at_least("reward.llm_judge.max_concurrency", self.max_concurrency, 1)
        at_least("reward.llm_judge.retries", self.retries, 0)
        at_least("reward.llm_judge.examples", self.examples, 0)
        require(
            self.examples == 0 or bool(self.examples_file),
            f"reward.llm_judge.examples={self.examples} needs reward.llm_judge.examples_file: name "
            "what `clawjax review RUN --export FILE` wrote, or set examples=0",
        )


@dataclass
class RewardConfig:
    """Where reward comes from.

    Explicit feedback always wins over the other modules, and people who review turns (`human`) over
    that.
    """

    modules: list[str] = field(default_factory=lambda: ["next_state", "feedback", "quote"])
    """Names (rules, next_state, llm_judge, feedback, tool_outcome, constitution, reward_model,
    composite; quote and hindsight for hints; process for steps; human for people), names in `own`,
    or import paths `package.module:factory`."""
    weights: dict[str, float] = field(default_factory=dict)
    """Weight per module where several score a turn; 1 where absent."""
    max_concurrency: int = 4
    calibration_file: str | None = None
    """What `clawjax review RUN --calibrate FILE` wrote: scores of its modules are corrected by it
    before they count. Null: scores count as they are."""
    judge_timeout_s: float = 120.0
    judge_patience_h: float = 24.0
    """Hours that a turn waits for a judge that is away, in memory; then, or with 0 at once, its
    module abstains."""
    rules: RulesConfig = field(default_factory=RulesConfig)
    next_state: NextStateConfig = field(default_factory=NextStateConfig)
    llm_judge: LlmJudgeConfig = field(default_factory=LlmJudgeConfig)
    tool_outcome: ToolOutcomeConfig = field(default_factory=ToolOutcomeConfig)
    constitution: ConstitutionConfig = field(default_factory=ConstitutionConfig)
    reward_model: RewardModelConfig = field(default_factory=RewardModelConfig)
    composite: CompositeConfig = field(default_factory=CompositeConfig)
    hack_watch: HackWatchConfig = field(default_factory=HackWatchConfig)
    process: ProcessConfig = field(default_factory=ProcessConfig)
    human: HumanConfig = field(default_factory=HumanConfig)
    own: dict[str, Any] = field(default_factory=dict)
    """Modules of one's own by their names, an `OwnConfig` each, whose factory is called with this
    configuration and its options."""

    def __post_init__(self) -> None:
        """Nothing to learn from is a mistake."""
        require(bool(self.modules), "reward.modules is empty: name at least one module")
        require(
            "composite" not in self.modules or bool(self.composite.parts),
            "reward.composite.parts is empty: name the modules that it is made of",
        )
        doubled = sorted(set(self.modules) & set(self._parts))
        require(
            not doubled,
            f"reward.modules and reward.composite.parts both name {', '.join(doubled)}, which "
            "would count twice: name it in one of them",
        )
        self._check_own()
        for name in (HUMAN, "feedback", *HINT_MODULES):
            weight = self.weights.get(name, 1.0)
            why = "gives no score" if name in HINT_MODULES else "overrules the mean of the others"
            require(
                weight == 1,
                f"reward.weights.{name}={weight:g} would do nothing, as {name} {why}: leave it "
                f"out, or take {name} out of reward.modules",
            )
        for name, weight in self.weights.items():
            at_least(f"reward.weights.{name}", weight, 0.0)
            finite(f"reward.weights.{name}", weight)
        at_least("reward.max_concurrency", self.max_concurrency, 1)
        at_least("reward.judge_timeout_s", self.judge_timeout_s, 0.1)
        at_least("reward.judge_patience_h", self.judge_patience_h, 0.0)
        require(
            not self.asking_modules or self.llm_judge.timeout_s < self.judge_timeout_s,
            f"reward.llm_judge.timeout_s={self.llm_judge.timeout_s:g} must be less than "
            f"reward.judge_timeout_s={self.judge_timeout_s:g} where "
            f"{', '.join(self.asking_modules)} asks: a judge that hangs would cost "
            "turns their verdicts instead of being waited for; lower the first or raise the second",
        )

    def _check_own(self) -> None:
        self.own = {
            name: read_own(written, f"reward.own.{name}") for name, written in self.own.items()
        }
        for name in self.own:
            require(
                name in (*self.modules, *self._parts),
                f"reward.own.{name} judges nothing: add {name} to reward.modules, or to "
                "reward.composite.parts where composite is among them, or leave it out",
            )

    def _is_own(self, name: str) -> bool:
        """Whether a module is somebody's own, who knows what it gives."""
        return ":" in name or name in self.own

    @property
    def _parts(self) -> list[str]:
        return self.composite.parts if "composite" in self.modules else []

    @property
    def may_give_hints(self) -> bool:
        """Whether a module is known to give hints, or is somebody's own."""
        return any(
            name in (*HINT_MODULES, HUMAN)
            or self._is_own(name)
            or (name == "constitution" and self.constitution.gives_hints)
            for name in (*self.modules, *self._parts)
        )

    @property
    def asking_modules(self) -> list[str]:
        """Those that ask the endpoint of `llm_judge`, whether by themselves or in a composite."""
        return [name for name in (*self.modules, *self._parts) if name in ASKING_MODULES]

    @property
    def reads_ratings(self) -> bool:
        """Whether a module takes the numbers of explicit feedback, or is somebody's own."""
        return any(
            name == "feedback" or self._is_own(name) for name in (*self.modules, *self._parts)
        )

    @property
    def may_label_steps(self) -> bool:
        """Whether a module labels turns as steps, or is somebody's own."""
        return any(name == PROCESS or self._is_own(name) for name in (*self.modules, *self._parts))

    @property
    def asks_people(self) -> bool:
        """Whether there is a review queue."""
        return HUMAN in self.modules

    @property
    def may_give_scores(self) -> bool:
        """Whether a module gives scores, or is somebody's own."""
        return any(
            name not in HINT_MODULES
            and (name == "feedback" or self.weights.get(name, 1.0) > 0)
            and (name != "composite" or any(part not in HINT_MODULES for part in self._parts))
            for name in self.modules
        )
