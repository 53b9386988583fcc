"""What a verdict has to be to be written down, whoever's module it comes from.

Invariant: a checked verdict is of plain numbers and texts, which every turn log takes and which are
read as they were written.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from clawjax.config import StepAspect
from clawjax.errors import RewardError
from clawjax.records import Component, Verdict

__all__ = ["checked"]


def checked(verdict: Verdict, module: str, turn_id: str) -> Verdict:
    """The verdict itself, in plain types: numpy's numbers are no database's.

    Args:
        verdict: what a module returned.
        module: that was asked.
        turn_id: about which turn.

    Raises:
        RewardError: it is about another turn, by another module, or a field is not of its kind.
    """
    key = (turn_id, module)
    if (verdict.turn_id, verdict.module) != key:
        msg = f"the verdict is for {verdict.turn_id}, {verdict.module}: it was asked for {key}"
        raise RewardError(msg)
    return Verdict(
        turn_id=turn_id,
        module=module,
        score=_score("the score", verdict.score),
        judged_at=_number("judged_at", verdict.judged_at),
        hints=tuple(_text("a hint", hint) for hint in _many("hints", verdict.hints)),
        step_labels=_labels(verdict.step_labels),
        votes=tuple(_optional("a vote", vote) for vote in _many("votes", verdict.votes)),
        explanation=_text("explanation", verdict.explanation),
        prompt_digest=_optional_text("prompt_digest", verdict.prompt_digest),
        components=tuple(_component(one) for one in _many("components", verdict.components)),
        revision=_optional_text("revision", verdict.revision),
    )


def _labels(given: Any) -> tuple[float | None, ...]:
    labels = tuple(_score("a step label", label) for label in _many("step_labels", given))
    if labels and len(labels) != len(StepAspect):
        msg = (
            f"step_labels has {len(labels)} values: give {len(StepAspect)}, one per aspect "
            f"({', '.join(StepAspect)}), None where one does not apply, or none at all"
        )
        raise RewardError(msg)
    return labels


def _component(given: Any) -> Component:
    if not isinstance(given, Component):
        raise _other("a component", given, "a clawjax.records.Component")
    return Component(
        _text("a component's module", given.module),
        _optional("a component's score", given.score),
        _text("a component's note", given.note),
    )


def _score(what: str, given: Any) -> float | None:
    if given is None:
        return None
    number = _number(what, given)
    if not -1.0 <= number <= 1.0:
        msg = f"{what} {number} is outside [-1, 1]"
        raise RewardError(msg)
    return number


def _optional(what: str, given: Any) -> float | None:
    return None if given is None else _number(what, given)


def _number(what: str, given: Any) -> float:
    try:
        is_finite = math.isfinite(given)
    except (TypeError, ValueError, OverflowError) as error:
        raise _other(what, given, "a finite number") from error
    if not is_finite:
        msg = f"{what} is {given}: make it a finite number"
        raise RewardError(msg)
    return float(given)


def _optional_text(what: str, given: Any) -> str | None:
    return None if given is None else _text(what, given)


def _text(what: str, given: Any) -> str:
    if not isinstance(given, str):
        raise _other(what, given, "a str")
    return str(given)


def _many(what: str, given: Any) -> Iterable[Any]:
    if not isinstance(given, tuple | list):
        raise _other(what, given, "a tuple")
    return given


def _other(what: str, given: Any, wanted: str) -> RewardError:
    """By its type alone: it may have the user's words."""
    return RewardError(f"{what} is of type {type(given).__name__}: make it {wanted}")
