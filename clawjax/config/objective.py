"""Knobs of the objective: which signals are learnt from, and how.

Invariant: what is named is what runs; settings that contradict each other are refused by name.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from clawjax.config.checks import at_least, require, within

__all__ = [
    "Baseline",
    "HintChoice",
    "Normalisation",
    "ObjectiveConfig",
    "OpdConfig",
    "OpdForm",
    "Support",
    "Teacher",
]


class Baseline(StrEnum):
    """What is subtracted from a score."""

    none = "none"
    batch_mean = "batch_mean"
    """Mean of the batch's scores."""
    leave_one_out = "leave_one_out"
    """Mean of the other scores in the batch."""
    ema = "ema"
    """Exponential moving average of past scores."""


class Normalisation(StrEnum):
    """What a token counts for in a term of the loss."""

    turn_mean = "turn_mean"
    """Every turn the same, shared equally among its tokens."""
    token_mean = "token_mean"
    """Every token the same."""


class Teacher(StrEnum):
    """Who reads the hint."""

    base = "base"
    """The frozen base model."""
    ema = "ema"
    """A moving average of the policy."""
    policy = "policy"
    """The policy as it is before the step."""


class HintChoice(StrEnum):
    """Which of several hints a turn is taught by."""

    overlap = "overlap"
    """The one whose likeliest tokens are most often the policy's own: the gentlest correction."""
    longest = "longest"
    first = "first"
    """The one its module ranks first."""


class OpdForm(StrEnum):
    """How the teacher is followed."""

    token = "token"
    """By the log-prob difference at the sampled tokens, as an advantage."""
    top_k = "top_k"
    """By the reverse KL over `top_k` tokens and one bin for all others."""


class Support(StrEnum):
    """Whose likeliest tokens a top-K objective compares."""

    student = "student"
    teacher = "teacher"


@dataclass
class OpdConfig:
    """On-policy distillation from hindsight: the policy follows itself, had it read the hint."""

    form: OpdForm = OpdForm.token
    teacher: Teacher = Teacher.base
    ema_decay: float = 0.9
    """Per step, of the teacher `ema`."""
    hint_choice: HintChoice = HintChoice.overlap
    max_hints: int = 4
    """Candidates looked at per turn."""
    top_k: int = 32
    """Likeliest tokens compared, by the hint choice `overlap` and the form `top_k`."""
    support: Support = Support.student
    max_difference: float = 4.0
    """Log-prob differences are clipped to plus and minus this, in nats."""

    def __post_init__(self) -> None:
        """Reject a teacher who says nothing."""
        within("objective.opd.ema_decay", self.ema_decay, 0.0, 1.0)
        at_least("objective.opd.max_hints", self.max_hints, 1)
        at_least("objective.opd.top_k", self.top_k, 1)
        require(
            self.max_difference > 0,
            f"objective.opd.max_difference={self.max_difference} silences the teacher: raise it",
        )


_TERMS = {"binary_rl": (True, False), "opd": (False, True), "combined": (True, True)}
"""Whether an objective learns from scores, and from hints."""


@dataclass
class ObjectiveConfig:
    """What is maximised."""

    name: str = "binary_rl"
    """`binary_rl` learns from scores, `opd` from hints, `combined` from both."""
    w_rl: float = 1.0
    """Weight of the scores' term."""
    w_opd: float = 0.0
    """Weight of the hints' term."""
    normalisation: Normalisation = Normalisation.turn_mean
    baseline: Baseline = Baseline.ema
    ema_decay: float = 0.9
    """Per batch."""
    clip_low: float = 0.2
    clip_high: float = 0.28
    ratio_cap: float = 2.0
    """Truncation of the importance ratio against the sampler."""
    kl_coef: float = 0.02
    """Weight of the KL to the base model, per token."""
    opd: OpdConfig = field(default_factory=OpdConfig)

    def __post_init__(self) -> None:
        """Reject objectives that cannot run as configured."""
        require(
            self.name in _TERMS,
            f"objective.name={self.name!r} is unknown: use {', '.join(_TERMS)}",
        )
        self._check_weights()
        within("objective.ema_decay", self.ema_decay, 0.0, 1.0)
        within("objective.clip_low", self.clip_low, 0.0, 1.0)
        at_least("objective.clip_high", self.clip_high, 0.0)
        at_least("objective.kl_coef", self.kl_coef, 0.0)
        require(
            self.ratio_cap >= 1 + self.clip_high,
            f"objective.ratio_cap={self.ratio_cap} truncates inside the clip range: "
            f"set it to at least 1 + clip_high = {1 + self.clip_high}",
        )

    @property
    def uses_scores(self) -> bool:
        """Whether scores are learnt from."""
        return self.w_rl > 0

    @property
    def uses_hints(self) -> bool:
        """Whether hints are learnt from."""
        return self.w_opd > 0

    def _check_weights(self) -> None:
        terms = zip(("w_rl", "w_opd"), (self.w_rl, self.w_opd), _TERMS[self.name], strict=True)
        for key, weight, is_used in terms:
            at_least(f"objective.{key}", weight, 0.0)
            require(
                (weight > 0) == is_used,
                f"objective.name={self.name} {'needs' if is_used else 'does not use'} "
                f"objective.{key}, which is {weight:g}: "
                f"{'raise it above 0' if is_used else 'set it to 0'}, or use objective=combined",
            )
