"""Knobs of the objectives that compare: a teacher's distillation, and preferences."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from clawjax.config.checks import above, at_least, require, within

__all__ = ["DpoConfig", "HintChoice", "OpdConfig", "OpdForm", "Support", "Teacher"]

_MAX_DIFFERENCE = 4.0


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

    token = "token"  # noqa: S105 - of a text
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
    """Per version, of the teacher `ema`."""
    hints: bool = True
    """Whether the teacher reads the hints that the reward modules found."""
    demonstrations: int = 0
    """So many of the user's praised exchanges are read by the teacher, before the conversation."""
    praised_above: float = 0.0
    """A turn with a higher score is one that the user praised."""
    hint_choice: HintChoice = HintChoice.overlap
    max_hints: int = 4
    """Candidates looked at per turn."""
    top_k: int = 32
    """Likeliest tokens compared, by the hint choice `overlap` and the form `top_k`."""
    support: Support = Support.student
    max_difference: float = _MAX_DIFFERENCE
    """Log-prob differences are clipped to plus and minus this, in nats."""
    corrects_praised: bool = True
    """Whether turns that the user praised are taught as well; without, learning ends where they are
    satisfied."""
    guidance: float = 0.0
    """How much further the teacher goes than what it reads takes it: 1 doubles the log-odds that
    reading has moved."""
    contrasts: bool = False
    """Whether guidance leads away from what the teacher says when it has read as many exchanges
    that the user complained about, instead of none: what examples of either kind change, such as
    what is talked about, then cancels out."""

    @property
    def support_size(self) -> int:
        """Tokens per position that the loss compares; 0 in the form `token`."""
        return self.top_k if self.form is OpdForm.top_k else 0

    def __post_init__(self) -> None:
        """Reject a teacher who says nothing."""
        within("objective.opd.ema_decay", self.ema_decay, 0.0, 1.0)
        at_least("objective.opd.max_hints", self.max_hints, 1)
        at_least("objective.opd.demonstrations", self.demonstrations, 0)
        require(
            self.hints or self.demonstrations > 0,
            "objective.opd.hints=false and objective.opd.demonstrations=0 leave the teacher with "
            "nothing that the policy does not know: use either",
        )
        at_least("objective.opd.top_k", self.top_k, 1)
        above("objective.opd.max_difference", self.max_difference, 0.0)
        self._check_idle()
        within("objective.opd.praised_above", self.praised_above, 0.0, 1.0)
        at_least("objective.opd.guidance", self.guidance, 0.0)
        require(
            not self.contrasts or (self.guidance > 0 and self.demonstrations > 0),
            "objective.opd.contrasts=true needs objective.opd.demonstrations and "
            f"objective.opd.guidance above 0, which are {self.demonstrations} and {self.guidance}",
        )

    def _check_idle(self) -> None:
        """Refuse settings that would change nothing."""
        is_token = self.form is OpdForm.token
        require(
            is_token or self.max_difference == _MAX_DIFFERENCE,
            f"objective.opd.max_difference={self.max_difference} bounds what objective.opd.form="
            f"token compares, not objective.opd.form=top_k: use {_MAX_DIFFERENCE}",
        )
        require(
            not is_token or self.support is Support.student,
            f"objective.opd.support={self.support.value} is of objective.opd.form=top_k, and "
            "objective.opd.form=token compares the sampled token alone: use student",
        )
        require(
            self.hints or self.hint_choice is HintChoice.overlap,
            f"objective.opd.hint_choice={self.hint_choice.value} has nothing to choose from with "
            "objective.opd.hints=false: use overlap, which is the default",
        )


@dataclass
class DpoConfig:
    """Direct preference optimisation: of two replies to one prompt, the better one."""

    beta: float = 0.1
    """What a nat of log-ratio to the base is worth: the smaller, the further the policy strays."""
    label_smoothing: float = 0.0
    """Share of pairs that are believed to be the wrong way round."""

    def __post_init__(self) -> None:
        """Reject pairs that teach nothing."""
        require(
            self.beta > 0,
            f"objective.dpo.beta={self.beta} tells no two replies apart: raise it above 0",
        )
        require(
            0 <= self.label_smoothing < 0.5,
            f"objective.dpo.label_smoothing={self.label_smoothing} is out of range: from 0.5 on, "
            "pairs teach nothing or the opposite; use 0 to below 0.5",
        )
