"""Verdicts, labels and logged turns as reviews meet them."""

from __future__ import annotations

from typing import Any

from turn_records import make_turn

from clawjax.records import (
    Message,
    NextState,
    NextStateKind,
    Turn,
    Verdict,
)
from clawjax.review.label import Label


def reviewed_turn(turn_id: str, **changes: Any) -> Turn:
    """What somebody was told who asked for brief answers; `changes` are fields of the turn."""
    return make_turn(
        turn_id,
        history=(Message("system", "Be brief."),),
        request=f"ask {turn_id}",
        **{"reply": f"answer {turn_id}", "scope": "somebody"} | changes,
    )


def reaction(turn_id: str) -> NextState:
    return NextState(turn_id, NextStateKind.USER, 110.0, (Message("user", "hm, no"),))


def said(score: float | None, *, module: str = "next_state", **changes: Any) -> Verdict:
    return Verdict(changes.pop("turn_id", "t"), module, score, judged_at=111.0, **changes)


def label(turn_id: str, reviewer: str, score: float | None, **changes: Any) -> Label:
    return Label(turn_id, reviewer, score, changes.pop("labelled_at", 200.0), **changes)
