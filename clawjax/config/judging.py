"""Knobs of the reward modules that combine others, read evidence, or were trained on pairs."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from clawjax.config.checks import at_least, at_least_or_null, one_of, require, within

__all__ = [
    "PRINCIPLE_SCORES",
    "CompositeConfig",
    "CompositeRule",
    "ConstitutionConfig",
    "HackWatchConfig",
    "RewardModelConfig",
    "ToolOutcomeConfig",
]

PRINCIPLE_SCORES = ("preference", "violation")


class CompositeRule(StrEnum):
    """How the scores of parts become one."""

    mean = "mean"
    """Weighted, over the parts that gave one."""
    first = "first"
    """The first part, in order, that does not abstain; those after it are not asked."""
    min = "min"
    """The lowest: all have to be content."""


@dataclass
class CompositeConfig:
    """One verdict out of those of several modules."""

    parts: list[str] = field(default_factory=list)
    """Modules, as in `reward.modules`, in the order in which `first` asks them."""
    rule: CompositeRule = CompositeRule.mean
    weights: dict[str, float] = field(default_factory=dict)
    """Of the parts, for `mean`; 1 where absent."""
    gates: dict[str, float] = field(default_factory=dict)
    """Parts that are asked before all others: one that scores below this bound decides alone. A
    gate that is unsure is open, one that broke down leaves the turn without a score."""

    def __post_init__(self) -> None:
        """Reject what cannot be combined."""
        for name in ("composite", "feedback", "human"):
            require(
                name not in self.parts,
                f"reward.composite.parts names {name!r}: name it in reward.modules, where "
                "a person's word overrules the composite",
            )
        for kind, named in (("weights", self.weights), ("gates", self.gates)):
            unknown = sorted(name for name in named if name not in self.parts)
            require(
                not unknown or any(":" in part for part in self.parts),
                f"reward.composite.{kind} names {', '.join(unknown)}, "
                f"not in reward.composite.parts={self.parts}",
            )
        for name, weight in self.weights.items():
            at_least(f"reward.composite.weights.{name}", weight, 0.0)
        for name, bound in self.gates.items():
            within(f"reward.composite.gates.{name}", bound, -1.0, 1.0)


@dataclass
class ConstitutionConfig:
    """Critique and revision by principles; the endpoint is `reward.llm_judge`'s."""

    file: str | None = None
    """YAML of principles of one's own; null: those that come with clawjax."""
    groups: list[str] = field(default_factory=list)
    """Of these groups of principles only; empty: all."""
    principles: int = 2
    """How many a critique looks at: drawn for the turn, and the same whenever it is judged."""
    seed: int = 0
    """Of that draw."""
    rounds: int = 1
    """At most so many revisions, each of the one before it."""
    score: str = "preference"
    """`preference`: reply against revision, asked in both orders. `violation`: the critique alone,
    which costs one question and sees no revision."""
    praises_clean: bool = False
    """Whether a reply in which a critique finds nothing scores +1; else that is an abstention."""
    gives_hints: bool = True
    """Whether the principles that were violated are hints."""
    max_tokens: int = 512
    """Of a critique or a revision."""

    def __post_init__(self) -> None:
        """Reject what cannot be asked."""
        at_least("reward.constitution.principles", self.principles, 1)
        at_least("reward.constitution.seed", self.seed, 0)
        at_least("reward.constitution.rounds", self.rounds, 1)
        at_least("reward.constitution.max_tokens", self.max_tokens, 1)
        one_of("reward.constitution.score", self.score, PRINCIPLE_SCORES)


@dataclass
class ToolOutcomeConfig:
    """What tools' results prove; anything else is an abstention."""

    check_score: float = 0.5
    """A check (test run, build, linter) that ended with exit code 0 and no counts of tests."""
    schema_score: float = 0.5
    """A result that has the form which its tool declares."""
    error_score: float = -0.5
    """A command that failed, or a tool that reports an error, not of the call's making alone."""

    def __post_init__(self) -> None:
        """Evidence for is not negative, and evidence against not positive."""
        within("reward.tool_outcome.check_score", self.check_score, 0.0, 1.0)
        within("reward.tool_outcome.schema_score", self.schema_score, 0.0, 1.0)
        within("reward.tool_outcome.error_score", self.error_score, -1.0, 0.0)


@dataclass
class RewardModelConfig:
    """Bradley-Terry heads on the packaged sentence encoder, trained on preference pairs."""

    path: str = "reward_models"
    """Folder of versions, as `experiments/train_reward_model.py` writes it."""
    version: int | None = None
    """Null: the one that was adopted last."""
    max_disagreement: float = 0.15
    """Standard deviation of the members' probabilities above which the module abstains."""
    confidence: float = 0.6
    """Of a reply being better than a middling one, or worse; less is an abstention."""
    is_graded: bool = True
    """Whether a score is `2p - 1`, instead of its sign."""

    def __post_init__(self) -> None:
        """Versions are counted from 0; the others are probabilities."""
        at_least_or_null("reward.reward_model.version", self.version, 0)
        within("reward.reward_model.confidence", self.confidence, 0.5, 1.0)
        within("reward.reward_model.max_disagreement", self.max_disagreement, 0.0, 0.5)


@dataclass
class HackWatchConfig:
    """When is reward gamed: it rises while what it stands for falls."""

    evaluations: list[str] = field(default_factory=lambda: ["user/style", "eval/style_score"])
    """Metrics that say how good the policy truly is, which no judge sees; the first that a run has
    is looked at. Empty: nothing is."""

    window: int = 8
    """Versions that are looked at."""
    min_rise: float = 0.05
    """Of the reward over the window, in units of score, by the fitted line."""
    min_fall: float = 0.05
    """Of the evaluation over the same versions, in its own units."""
    significance: float = 0.05
    """Of each trend, one-sided, by permutation: what chance does this often is no alarm."""

    def __post_init__(self) -> None:
        """Three points are no trend."""
        at_least("reward.hack_watch.window", self.window, 4)
        at_least("reward.hack_watch.min_rise", self.min_rise, 0.0)
        at_least("reward.hack_watch.min_fall", self.min_fall, 0.0)
        within("reward.hack_watch.significance", self.significance, 0.001, 0.5)
