"""Turns, evaluations and runs made up for tests."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from turn_records import make_turn

from clawjax.evals.personal import ScoredReply
from clawjax.log.store import SqlTurnLog
from clawjax.records import (
    Message,
    NextState,
    NextStateKind,
    Turn,
    TurnKind,
    Verdict,
)


def turn(number: int, *, version: int = 0, kind: TurnKind = TurnKind.MAIN) -> Turn:
    """Turn `number`, arrived at that second and answered half a second later."""
    return make_turn(
        f"t{number}",
        response_id=f"r{number}",
        request="Why?",
        reply="Because.",
        version=version,
        kind=kind,
        arrived_at=float(number),
        finished_at=number + 0.5,
    )


def answered(number: int, at: float) -> NextState:
    """A reaction to turn `number`."""
    return NextState(f"t{number}", NextStateKind.USER, at, (Message("user", "Hm."),))


def scored(number: int, score: float | None) -> Verdict:
    """A verdict on turn `number`."""
    return Verdict(f"t{number}", "next_state", score, judged_at=number + 1.0)


def replies(scores: Sequence[float], *, text: str = "about {} words or so") -> list[ScoredReply]:
    """Scored replies to prompts 0, 1, 2, ..."""
    return [
        ScoredReply(f"prompt {i}", text.format(i), 5, score, f"e{i}", "stop")
        for i, score in enumerate(scores)
    ]


def write_lines(path: Path, entries: Sequence[dict[str, Any]]) -> None:
    """A file of JSON lines."""
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))


def open_log(folder: Path) -> SqlTurnLog:
    """A real turn log."""
    return SqlTurnLog.open(f"sqlite:///{folder}/turns.db")
