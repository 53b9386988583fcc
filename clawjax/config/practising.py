"""Settings of practice: learning from answers that nobody asked for."""

from __future__ import annotations

from dataclasses import dataclass

from clawjax.config.checks import at_least, require

__all__ = ["REMEMBERED", "PracticeConfig"]

REMEMBERED = 128
"""Reactions of a user that a learner remembers, the newest."""


@dataclass
class PracticeConfig:
    """Answering a user's earlier questions again, by a preference model of their reactions."""

    rounds: int = 0
    """Updates on new answers after each batch; 0 practises nothing."""
    prompts: int = 8
    """Earlier questions of a round."""
    samples: int = 4
    """Answers to each, which are compared with one another."""
    kept: int | None = None
    """How many of these are learnt from, those whose predicted scores vary most; None: all."""
    max_response_tokens: int = 128
    max_reply_kl: float = 4.0
    """Exact KL(after || before) that a sure preference model may lead to per version, in nats per
    reply; one by which N reactions are foreseen to a correlation of r gets the share
    `(r^2 - 2 / N) / full_foresight^2`."""
    full_foresight: float = 1.0
    """The correlation from which on a preference model is followed all that way."""
    min_scored: int = 12
    """Reactions that a user has to have given before they are practised for."""
    min_of_each: int = 2
    """Of praise and of complaint, at least so many of each among them."""
    min_foresight: float = 0.0
    """The least correlation by which a preference model is followed at all: what is foreseen by
    less moves a policy by next to nothing and costs as much."""
    listen: int = 0
    """A user's first so many reactions are only remembered while their preference model foresees
    nothing: a step on them would learn their noise, and lead away from replies that tell what is
    liked."""
    blind_share: float | None = None
    """Bounds the step on the reactions themselves as well, for what is noise for practice is noise
    for that. Of `learner.drift.max_step_reply_kl`, which has to be set, a preference
    model by which N reactions are foreseen to a correlation of r leaves it the share
    `(r^2 - 2 / N) / full_foresight^2`, and this one where that is less, or nothing is foreseen.
    None: all of it, whatever is known."""

    def __post_init__(self) -> None:
        """Reject rounds that compare nothing."""
        at_least("objective.practice.rounds", self.rounds, 0)
        at_least("objective.practice.prompts", self.prompts, 1)
        at_least("objective.practice.samples", self.samples, 2)
        at_least("objective.practice.max_response_tokens", self.max_response_tokens, 1)
        at_least("objective.practice.min_scored", self.min_scored, 2)
        at_least("objective.practice.min_of_each", self.min_of_each, 1)
        at_least("objective.practice.listen", self.listen, 0)
        for key, most in (
            ("min_scored", REMEMBERED),
            ("min_of_each", REMEMBERED // 2),
            ("listen", REMEMBERED),
        ):
            value: int = getattr(self, key)
            require(
                value <= most,
                f"objective.practice.{key}={value} is never reached, as the newest {REMEMBERED} "
                f"reactions of a user are remembered: use {most} at most",
            )
        require(
            self.kept is None or 2 <= self.kept <= self.samples,
            f"objective.practice.kept={self.kept} of objective.practice.samples={self.samples}: "
            "use 2 or more, as one answer is compared with nothing, or null for all",
        )
        require(
            0 <= self.min_foresight < 1,
            f"objective.practice.min_foresight={self.min_foresight} is no correlation to be "
            "reached: use 0 or more and less than 1",
        )
        require(
            0 < self.full_foresight <= 1,
            f"objective.practice.full_foresight={self.full_foresight} is no correlation to be "
            "reached: use a number above 0 up to 1",
        )
        require(
            self.blind_share is None or 0 < self.blind_share <= 1,
            f"objective.practice.blind_share={self.blind_share} is no share of a step: use a "
            "number above 0 up to 1, or null",
        )
        require(
            0 < self.max_reply_kl < float("inf"),
            f"objective.practice.max_reply_kl={self.max_reply_kl} is no distance: use a number "
            "above 0, e.g. 4",
        )

    @property
    def learnt_from(self) -> int:
        """Answers to each question, of those that were drawn."""
        return self.samples if self.kept is None else self.kept
