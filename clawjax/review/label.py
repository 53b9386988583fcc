"""What one person said of a turn, and what the people together make of it.

Pure. Invariants: a person who cannot tell has said so, which is not a 0; a verdict is reached only
by more than half of those asked, and where they disagree another one decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import NamedTuple

from clawjax.config import HUMAN, StepAspect
from clawjax.records import Verdict

__all__ = ["MOST_PEOPLE", "Label", "Settled", "category", "settle", "steps_of"]

MOST_PEOPLE = 3
"""Whom a third does not agree with either, nobody is asked about any more."""


@dataclass(frozen=True, slots=True)
class Label:
    """One person's judgement of a turn."""

    turn_id: str
    reviewer: str
    """Who: the id of a key over HTTP, a name at the terminal."""
    score: float | None
    """In [-1, 1]; None: they cannot tell."""
    labelled_at: float
    """Unix seconds."""
    steps: tuple[float | None, ...] = ()
    """As `Verdict.step_labels`; empty where they left the machine's as they are."""
    hints: tuple[str, ...] = ()
    """What the assistant should have been told beforehand, best first."""
    note: str = ""

    def __post_init__(self) -> None:
        """Refuse what is no judgement.

        Raises:
            ValueError: a value outside [-1, 1], or not one per aspect of a step.
        """
        for value in (self.score, *self.steps):
            if value is not None and not -1.0 <= value <= 1.0:
                msg = f"turn {self.turn_id}: {value} is outside [-1, 1]"
                raise ValueError(msg)
        if self.steps and len(self.steps) != len(StepAspect):
            msg = f"turn {self.turn_id}: {len(self.steps)} step labels, expected {len(StepAspect)}"
            raise ValueError(msg)
        if not self.reviewer:
            msg = f"turn {self.turn_id}: a label says who gave it: name the reviewer"
            raise ValueError(msg)


class Settled(NamedTuple):
    """Where a turn's review stands."""

    verdict: Verdict | None
    """None while somebody is still to be asked."""
    people: int
    """How many are asked by now."""


def category(score: float | None) -> str:
    """What a score says, as agreement counts it: `good`, `bad`, or `unsure` for 0 and None."""
    if not score:
        return "unsure"
    return "good" if score > 0 else "bad"


def settle(labels: Sequence[Label], *, people: int) -> Settled:
    """The people's verdict: that of more than half of those asked, else one more is asked.

    Its score is the mean of the majority's scores, its step labels are the means of what was said
    on each aspect, its hints are the majority's in their order. Where `MOST_PEOPLE` are of as many
    minds, or the majority cannot tell, it abstains.

    Args:
        labels: one per person, oldest first; more than were asked count all the same.
        people: how many were asked.
    """
    votes = [category(label.score) for label in labels]
    most = max(dict.fromkeys(votes), key=votes.count) if votes else "unsure"
    among = max(people, len(labels))
    is_decided = 2 * votes.count(most) > among
    if not is_decided and len(labels) < people:
        return Settled(None, people)
    if not is_decided and among < MOST_PEOPLE:
        return Settled(None, among + 1)
    agreeing = [label for label in labels if is_decided and category(label.score) == most]
    said = [label.score for label in agreeing if label.score is not None]
    verdict = Verdict(
        turn_id=labels[0].turn_id,
        module=HUMAN,
        score=fmean(said) or None if said else None,
        judged_at=max(label.labelled_at for label in labels),
        hints=tuple(dict.fromkeys(hint for label in agreeing for hint in label.hints)),
        step_labels=steps_of(labels),
        votes=tuple(label.score for label in labels),
        explanation=f"{len(agreeing)} of {len(labels)} people: {most if agreeing else 'disagree'}",
    )
    return Settled(verdict, people)


def steps_of(labels: Sequence[Label]) -> tuple[float | None, ...]:
    """The mean per aspect over those who said something on it; empty where nobody did on any."""
    given = [label.steps for label in labels if label.steps]
    if not given:
        return ()
    columns = zip(*given, strict=True)
    known = ([value for value in column if value is not None] for column in columns)
    return tuple(fmean(values) if values else None for values in known)
