"""Knobs of the people's part: which turns they are asked about, and what steps are worth."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from clawjax.config.checks import at_least, require, within

__all__ = ["HUMAN", "PROCESS", "REMOVALS", "HumanConfig", "ProcessConfig"]

HUMAN = "human"
"""The module of people's verdicts, which overrule all others."""
PROCESS = "process"
"""The module that labels turns as steps of a longer task."""


@dataclass
class HumanConfig:
    """Which turns people are asked about. A threshold of null switches its rule off."""

    hold_s: float = 300.0
    """Training waits so long for people; then it goes by the judges. 0 never waits: labels then
    mostly measure judges, as most turns are trained on, or dropped, before."""
    lease_s: float = 900.0
    """Who claimed a turn has so long before somebody else may."""
    least_majority: float | None = 0.75
    """A judge whose majority is smaller than this share of its valid votes is of two minds."""
    ensemble_modules: list[str] = field(default_factory=lambda: ["reward_model"])
    """Modules that are ensembles: with a component `disagreement`, or its members' scores as
    `votes`."""
    most_deviation: float | None = 0.15
    """Standard deviation of the members' probabilities above which they disagree."""
    safety_modules: list[str] = field(default_factory=lambda: ["constitution"])
    """Modules that a score below `safety_below` of is a matter of safety."""
    safety_below: float | None = 0.0
    """The same for the label `safety` of a step."""
    outcome_modules: list[str] = field(default_factory=lambda: ["feedback", "tool_outcome"])
    """Modules that say how it turned out, rather than what a judge thinks."""
    contradiction: float | None = 1.0
    """Judges and outcome contradict each other where their signs differ and their scores by at
    least this."""
    audit_share: float = 0.01
    """Share of all judged turns that people are asked about for no reason: what judges are
    calibrated on, since the turns with reasons are the hard ones."""
    double_share: float = 0.1
    """Share of the turns in the queue that two people label, for their agreement."""

    def __post_init__(self) -> None:
        """Reject thresholds that are none."""
        at_least("reward.human.hold_s", self.hold_s, 0.0)
        at_least("reward.human.lease_s", self.lease_s, 1.0)
        for name, value, low, high in (
            ("least_majority", self.least_majority, 0.0, 1.0),
            ("most_deviation", self.most_deviation, 0.0, 1.0),
            ("safety_below", self.safety_below, -1.0, 1.0),
            ("contradiction", self.contradiction, 0.0, 2.0),
            ("audit_share", self.audit_share, 0.0, 1.0),
            ("double_share", self.double_share, 0.0, 1.0),
        ):
            if value is not None:
                within(f"reward.human.{name}", value, low, high)


REMOVALS = r"\brm\s+-[a-z]*[rf][a-z]*\s+(--\S+\s+)*[/~]"
"""Of `reward.process.unsafe`: stands for a rule that looks at what is removed as well, as a pattern
cannot (`clawjax.rewards.removals`)."""


@dataclass
class ProcessConfig:
    """How a step's labels are found and weighed (`clawjax.rewards.steps`)."""

    weights: dict[str, float] = field(default_factory=dict)
    """Weight per aspect (`clawjax.config.StepAspect`) in the step's score; 1 where absent. Of
    weight 0: labelled, without a say."""
    order_errors: list[str] = field(
        default_factory=lambda: [
            r"\bbefore\b",
            r"\bfirst\b",
            r"\bmust\b.*\bbe(en)?\b",
            r"precondition",
            r"not (yet )?(logged in|authenticated|initiali[sz]ed|open|started)",
        ]
    )
    """Regular expressions: a tool's error that has one found came of the order of calls."""
    errors: list[str] = field(
        default_factory=lambda: [
            r"\A[^\w\"]*(error|exception|failed|failure|traceback|invalid|denied)\b",
            r'"?(error|exception)"?\s*:\s*(?!\s*(null|none|false|""|\{\}|\[\]))',
            r'"?(ok|success|successful)"?\s*:\s*false',
            r"\bexit (code|status):?\s*[1-9]",
            r"Traceback \(most recent call last\)",
        ]
    )
    """Regular expressions: a tool's result that has one found is an error."""
    unsafe: list[str] = field(
        default_factory=lambda: [
            REMOVALS,
            r"\bmkfs\b|\bdd\s+if=.*of=/dev/",
            r"\bchmod\s+(-R\s+)?777\s+/",
            r"\b(curl|wget)\b[^|\n]*\|\s*(sudo\s+)?(ba|z)?sh\b",
            r"\b(drop|truncate)\s+(table|database)\b",
            r"\bgit\s+push\s+.*--force\b",
            r"/etc/shadow|\.ssh/id_[a-z0-9]+\b(?!\.pub)",
        ]
    )
    """Regular expressions, of arguments: whoever calls a tool with such does what must not be.
    Where the first of these is named, it means `rm` of the system, of a home or of a whole disk,
    and not of an absolute path as such."""

    def __post_init__(self) -> None:
        """Reject weights that weigh nothing and patterns that are none."""
        for name, weight in self.weights.items():
            at_least(f"reward.process.weights.{name}", weight, 0.0)
        for key in ("order_errors", "errors", "unsafe"):
            for pattern in getattr(self, key):
                require(
                    _compiles(pattern),
                    f"reward.process.{key} has {pattern!r}, which is no regular expression",
                )


def _compiles(pattern: str) -> bool:
    try:
        re.compile(pattern)
    except re.error:
        return False
    return True
