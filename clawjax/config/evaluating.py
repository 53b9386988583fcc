"""Knobs of the evaluation suites."""

from __future__ import annotations

from dataclasses import dataclass, field

from clawjax.config.checks import at_least, require

__all__ = ["METHODS", "UNTRAINED", "SuiteConfig"]

UNTRAINED = ("base", "prompted")
"""Methods without an objective."""
METHODS = (*UNTRAINED, "sft", "binary_rl", "opd", "opd_topk", "opd_praise", "combined")
"""What the personal suite compares: the base model, the base model that is told the wish, and each
objective."""


@dataclass
class SuiteConfig:
    """The personal suite: who talks, what is compared, how much is measured."""

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
        for name in ("personas", "methods", "seeds"):
            require(bool(getattr(self, name)), f"suite.{name} is empty: name at least one")
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
