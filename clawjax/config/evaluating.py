"""Knobs of the evaluation suites, and of the agents that they measure."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from clawjax.config.checks import at_least, at_least_or_null, require, within
from clawjax.config.own import refuse_secret_options
from clawjax.config.secrets import service_url

__all__ = [
    "AGENTS",
    "METHODS",
    "UNTRAINED",
    "AgentConfig",
    "EpisodeLimitsConfig",
    "EpisodesConfig",
    "SuiteConfig",
]

AGENTS = ("policy", "endpoint", "oracle", "noop", "random", "exploit", "replay")
"""Kinds of agents."""

UNTRAINED = ("base", "prompted")
"""Methods without an objective."""
METHODS = (*UNTRAINED, "sft", "binary_rl", "opd", "opd_topk", "opd_praise", "combined")
"""What the personal suite compares: the base model, the base model that is told the wish, and each
objective."""


@dataclass
class EpisodeLimitsConfig:
    """Limits of one episode of a suite of tasks; null: the suite's own."""

    turns: int | None = None
    """Replies of the agent."""
    tokens: int | None = None
    """Tokens of all its replies together, where its endpoint counts them."""
    wall_s: float | None = None
    """Seconds, environment and agent together."""
    observation_chars: int | None = None
    """Longer observations are cut, with a notice."""

    def __post_init__(self) -> None:
        """Reject limits that leave nothing."""
        at_least_or_null("suite.limits.turns", self.turns, 1)
        at_least_or_null("suite.limits.tokens", self.tokens, 1)
        at_least_or_null("suite.limits.wall_s", self.wall_s, 1.0)
        at_least_or_null("suite.limits.observation_chars", self.observation_chars, 1)

    def given(self) -> dict[str, int | float]:
        """Those that are not null."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass
class EpisodesConfig:
    """What suites of tasks have in common."""

    name: str = "personal"
    """`personal`, `judge`, one of `clawjax.evals.suites.SUITES`, or `package.module:function` that
    makes a suite of one's own."""
    suites: list[str] = field(default_factory=list)
    """Of these files of `conf/suite/`, or import paths of one's own, each is run, with limits,
    trials and concurrency of this one; empty: `name` is."""
    tasks: list[str] = field(default_factory=list)
    """These only; empty: all. Of one suite, as `split`."""
    split: str | None = None
    limit: int | None = None
    """A quick look at so many tasks, always the same ones; null: all."""
    trials: int = 1
    """How often each task is played."""
    concurrency: int = 4
    """Episodes at once."""
    max_error_share: float = 0.1
    """Share of episodes that may break down (agent, environment, scorer) before the run fails."""
    limits: EpisodeLimitsConfig = field(default_factory=EpisodeLimitsConfig)
    options: dict[str, Any] = field(default_factory=dict)
    """The suite's own; of one that lists others, theirs by their names."""

    def __post_init__(self) -> None:
        """Reject a selection that is none, and options that would give a secret away."""
        refuse_secret_options(self.options, "suite.options")
        for key, value in (("tasks", self.tasks), ("split", self.split)):
            require(
                not self.suites or not value,
                f"suite.{key}={value} is of one suite, and {self.name} lists {len(self.suites)}: "
                "leave it out, or play one of them with suite=NAME",
            )
        at_least("suite.limit", 1 if self.limit is None else self.limit, 1)
        at_least("suite.trials", self.trials, 1)
        at_least("suite.concurrency", self.concurrency, 1)
        within("suite.max_error_share", self.max_error_share, 0.0, 1.0)


@dataclass
class AgentConfig:
    """Who is measured by suites of tasks."""

    kind: str = "policy"
    """`policy` (the model of this configuration, behind a gateway of its own), `endpoint` (any
    OpenAI-compatible server), `oracle`, `noop`, `random`, `exploit`, or `replay`."""
    name: str | None = None
    """As reports call it; null: after model and version, or the kind."""
    run: str | None = None
    """`policy`: folder of the run whose weights are measured; null: the base model."""
    version: int | None = None
    """`policy`: of those weights; null: the one that the run serves."""
    base_url: str = "http://127.0.0.1:30000/v1"
    """`endpoint`: where."""
    model: str | None = None
    """`endpoint`: the name it serves the model by."""
    api_key_env: str = "CLAWJAX_API_KEY"
    """`endpoint`: environment variable with its bearer key."""
    uses_tools: bool = True
    """Tool calls of the API; false: actions are written as text."""
    temperature: float = 0.0
    max_tokens: int = 256
    """Of one reply."""
    timeout_s: float = 300.0
    """Of one attempt at one reply."""
    retries: int = 4
    """Further attempts at a reply where the server is unreachable or answers 5xx."""
    exploit: str | None = None
    """`exploit`: which of the suite's."""
    replay: str | None = None
    """`replay`: folder with the trajectories that are played again."""
    prompt_price: float | None = None
    """Per million tokens of prompts, for the cost of a run; null: not known."""
    completion_price: float | None = None
    """Per million tokens of replies."""

    def __post_init__(self) -> None:
        """Reject an agent that cannot be made."""
        require(
            self.kind in AGENTS,
            f"agent.kind={self.kind!r} is unknown: use {', '.join(AGENTS)}",
        )
        service_url("agent.base_url", self.base_url, "http://HOST:PORT/v1", self.api_key_env)
        for kind, key in (("endpoint", "model"), ("exploit", "exploit"), ("replay", "replay")):
            require(
                self.kind != kind or bool(getattr(self, key)),
                f"agent={kind} needs agent.{key}: name one",
            )
        at_least_or_null("agent.version", self.version, 0)
        at_least_or_null("agent.prompt_price", self.prompt_price, 0.0)
        at_least_or_null("agent.completion_price", self.completion_price, 0.0)
        require(
            self.version is None or self.run is not None,
            f"agent.version={self.version} is of no run: set agent.run to its folder",
        )
        require(
            (self.prompt_price is None) == (self.completion_price is None),
            "agent.prompt_price and agent.completion_price go together: set both or none",
        )
        within("agent.temperature", self.temperature, 0.0, 2.0)
        at_least("agent.max_tokens", self.max_tokens, 1)
        at_least("agent.timeout_s", self.timeout_s, 1.0)
        at_least("agent.retries", self.retries, 0)


@dataclass
class SuiteConfig(EpisodesConfig):
    """A suite: what all have in common, then the personal suite's own."""

    personas: list[str] = field(
        default_factory=lambda: [
            "brief",
            "plain",
            "you",
            "asks",
            "unapologetic",
            "formal",
            "student",
            "teacher",
        ]
    )
    """Shipped with clawjax, or paths of persona files."""
    methods: list[str] = field(default_factory=lambda: list(METHODS))
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2])
    updates: int = 6
    """Rounds of talking and training."""
    turns_per_update: int = 16
    staleness: int = 0
    """Versions by which the policy that talks lags the newest one."""
    held_out: int = 64
    """Held-out prompts scored."""
    neutral: int = 20
    """Neutral prompts on whose replies the KL to the base is measured."""

    def __post_init__(self) -> None:
        """Reject what cannot be compared."""
        super().__post_init__()
        for name in ("personas", "methods", "seeds"):
            chosen = getattr(self, name)
            require(bool(chosen), f"suite.{name} is empty: name at least one")
            require(
                len(set(chosen)) == len(chosen),
                f"suite.{name}={chosen} names one twice: a trial counts once, leave it out",
            )
        by_name: dict[str, str] = {}
        for persona in self.personas:
            other = by_name.setdefault(Path(persona).stem, persona)
            require(
                other == persona,
                f"suite.personas names {other} and {persona}, whose trials would be called the "
                "same: rename one of the files",
            )
        for method in self.methods:
            require(
                method in METHODS,
                f"suite.methods names {method!r}, which is unknown: use {', '.join(METHODS)}",
            )
        at_least("suite.updates", self.updates, 1)
        at_least("suite.turns_per_update", self.turns_per_update, 1)
        at_least("suite.staleness", self.staleness, 0)
        at_least("suite.held_out", self.held_out, 1)
        at_least("suite.neutral", self.neutral, 1)
