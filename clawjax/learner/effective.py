"""What one step really minimised: the terms that turns fed, practice, and why others had none.

Pure text from what a batch held. Invariant: of each signal's term, the turns that fed it and those
that did not, by reason, add up to the turns that were looked at.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from clawjax.config import ObjectiveConfig, PolicyLoss
from clawjax.learner.credit import AdmittedTurn, Credited
from clawjax.learner.formula import formula, practice_formula, terms
from clawjax.learner.practice import Practised
from clawjax.learner.teacher import Lesson

__all__ = ["EffectiveObjective", "effective_objective", "with_practice"]

_SKIPPED = {
    "no_hint": "without hint",
    "no_demonstration": "before anything was praised",
    "no_prompt": "with a hint that the template rejects",
    "too_long": "too long with the hint",
    "not_finite": "with a teacher that is not finite",
}


class EffectiveObjective(NamedTuple):
    """The objective as one step saw it."""

    formula: str
    """`L = ...`, of the terms that had turns; `L_practice = ...` where it had answers."""
    terms: str
    """Every configured term: its turns, or that it was inactive, and why."""

    @property
    def texts(self) -> dict[str, str]:
        """For the monitor."""
        return {"train/objective": self.formula, "train/terms": self.terms}

    def __str__(self) -> str:
        """On one line."""
        return f"{self.formula}; {self.terms}"


class _Fed(NamedTuple):
    """What one term got of a batch."""

    turns: int
    others: Mapping[str, int]
    """Turns that did not feed it, by reason."""
    again: int = 0
    """Earlier turns that did."""
    by: str = ""
    """Whose credit it is where it is somebody's own."""

    @property
    def total(self) -> int:
        return self.turns + self.again


def effective_objective(
    objective: ObjectiveConfig,
    turns: Sequence[AdmittedTurn],
    credited: Credited,
    lesson: Lesson,
    *,
    replayed: int = 0,
) -> EffectiveObjective:
    """What the objective came to on `turns`, whose signals are `credited` and `lesson`.

    Earlier turns that were learnt from again, `replayed`, fed the term of the scores too.
    """
    scores = _fed_by_scores(objective, turns, credited)._replace(again=replayed)
    hints = _Fed(
        len(lesson.says),
        {_SKIPPED.get(why, why): count for why, count in lesson.skipped.items()},
    )
    has_signal = [
        credit is not None or turn.turn.turn_id in lesson.says
        for turn, credit in zip(turns, credited.credit, strict=True)
    ]
    whole = _Fed(sum(has_signal), {}, replayed)
    fed = {"L_rl": scores, "L_dpo": scores, "L_opd": hints, "KL": whole, "H": whole}
    names = [term.name for term in terms(objective)]
    inactive = [name for name in names if fed[name].total == 0]
    said = "; ".join(_say(name, fed[name]) for name in names)
    return EffectiveObjective(formula(objective, without=inactive), said)


def with_practice(
    step: EffectiveObjective, objective: ObjectiveConfig, practised: Practised | None
) -> EffectiveObjective:
    """The same with what practice added to the step; None where there is no practice."""
    if practised is None:
        return step
    said = f"{step.terms}; {_say_practised(practised)}"
    if practised.answers == 0:
        return step._replace(terms=said)
    return EffectiveObjective(f"{step.formula}; {practice_formula(objective)}", said)


def _say_practised(practised: Practised) -> str:
    users, rounds, answers = practised
    if users == 0:
        return "L_practice inactive: nobody's taste is known"
    if answers == 0:
        return "L_practice inactive: answers to a question all alike"
    whom = f"{users} user{'' if users == 1 else 's'}"
    times = f"{rounds} update{'' if rounds == 1 else 's'}"
    return f"L_practice {answers} answers for {whom} in {times}"


def _fed_by_scores(
    objective: ObjectiveConfig, turns: Sequence[AdmittedTurn], credited: Credited
) -> _Fed:
    if objective.credit.is_own:
        others = {"without credit": sum(credit is None for credit in credited.credit)}
        kept = len(turns) - sum(others.values())
        return _Fed(kept, others if kept < len(turns) else {}, by=str(objective.credit))
    left_out = "without a reply to compare with"
    if objective.policy_loss is PolicyLoss.sft:
        left_out = "not praised"
    others = Counter(
        "without score" if turn.score is None else left_out
        for turn, credit in zip(turns, credited.credit, strict=True)
        if credit is None
    )
    return _Fed(len(turns) - others.total(), others)


def _say(name: str, fed: _Fed) -> str:
    others = ", ".join(f"{count} {why}" for why, count in fed.others.items())
    by = f" by {fed.by}" if fed.by else ""
    if fed.total == 0:
        return f"{name}{by} inactive: {others}" if others else f"{name}{by} inactive"
    turns = f"{name} {fed.turns} turn{'' if fed.turns == 1 else 's'}{by}"
    if fed.again:
        turns += f" and {fed.again} praised before"
    return f"{turns} ({others})" if others else turns
