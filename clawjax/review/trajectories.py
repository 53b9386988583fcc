"""The tasks in a log, step by step: what was done, what came of it, and what each step was worth.

Owns the format `clawjax.trajectory/1`, one object per line:

    format      "clawjax.trajectory/1"
    session_id  of the conversation; `user`: the scope of its key, which is a digest
    tools       as offered, OpenAI's form; null where there were none
    messages    chat messages up to the task
    steps       in order:
      turn_id   the turn
      reply     an assistant message
      results   tool messages that answer it
      labels    per aspect of `clawjax.config.StepAspect`, -1 to 1
      by        per aspect: the module that said so; `human` where people corrected it
      score     the step's worth, -1 to 1 or null, every aspect weighing the same
      judges    score per reward module, null where it abstained
      became    `trained@VERSION`, the reason it was dropped for, or null
    outcome     the newest score of the task's turns but for those of its steps, or null; of a
                turn with several, a person's, else the user's thumb, else their mean

A task begins with a message of the user and goes on while tools answer.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from clawjax.config import HUMAN, PROCESS, StepAspect
from clawjax.log.replay import replay
from clawjax.log.store import SqlTurnLog
from clawjax.openai_form import message_form
from clawjax.records import JudgedTurn, NextStateKind, Outcome, TurnKind, Verdict
from clawjax.review.steps import process_score
from clawjax.verdicts import combine

__all__ = ["FORMAT", "trajectories"]

FORMAT = "clawjax.trajectory/1"


def trajectories(log: SqlTurnLog) -> Iterator[dict[str, Any]]:
    """Every task in which a tool was called, in the order of their first steps."""
    for turn_ids in _chains(log):
        found = [judged for turn_id in turn_ids if (judged := log.get(turn_id)) is not None]
        if found:  # not forgotten meanwhile
            yield _told(found, [log.outcome(judged.turn.turn_id) for judged in found])


def _chains(log: SqlTurnLog) -> list[list[str]]:
    """Turn ids of each task; where a step has two successors, each ends a chain of its own."""
    chains: dict[str, list[str]] = {}
    """By last turn."""
    has_tools: set[str] = set()
    for judged in replay(log):
        turn = judged.turn
        if turn.kind is not TurnKind.MAIN:
            continue
        is_continued = bool(turn.messages) and turn.messages[-1].role == "tool"
        before = chains.get(turn.parent_turn_id or "", []) if is_continued else []
        if before and before[-1] == turn.parent_turn_id:
            del chains[before[-1]]
        chains[turn.turn_id] = [*before, turn.turn_id]
        if turn.reply.tool_calls:
            has_tools.add(turn.turn_id)
    return [chain for chain in chains.values() if has_tools.intersection(chain)]


def _told(steps: Sequence[JudgedTurn], outcomes: Sequence[Outcome | None]) -> dict[str, Any]:
    first = steps[0].turn
    scores = [score for judged in steps if (score := _outcome_of(judged.verdicts)) is not None]
    return {
        "format": FORMAT,
        "session_id": first.session_id,
        "user": first.scope,
        "tools": None if first.tools_json is None else json.loads(first.tools_json),
        "messages": [message_form(message) for message in first.messages],
        "steps": [_step(judged, each) for judged, each in zip(steps, outcomes, strict=True)],
        "outcome": scores[-1] if scores else None,
    }


def _step(judged: JudgedTurn, outcome: Outcome | None) -> dict[str, Any]:
    labels, by = _labels(judged.verdicts)
    answers = (s.messages for s in judged.next_states if s.kind is NextStateKind.TOOL)
    said = dict.fromkeys(m for messages in answers for m in messages)  # some of it twice
    return {
        "turn_id": judged.turn.turn_id,
        "reply": message_form(judged.turn.reply),
        "results": [message_form(m) for m in said if m.role == "tool"],
        "labels": labels,
        "by": by,
        "score": process_score(judged.verdicts, {}),
        "judges": {verdict.module: verdict.score for verdict in judged.verdicts},
        "became": _became(outcome),
    }


def _labels(verdicts: Sequence[Verdict]) -> tuple[dict[str, float], dict[str, str]]:
    """Labels by aspect and who gave them; people's before the machine's."""
    labels: dict[str, float] = {}
    by: dict[str, str] = {}
    ordered = sorted(verdicts, key=lambda verdict: verdict.module != HUMAN)
    for verdict in ordered:
        pairs = zip(StepAspect, verdict.step_labels, strict=True) if verdict.step_labels else ()
        for aspect, label in pairs:
            if label is not None and aspect.value not in labels:
                labels[aspect.value], by[aspect.value] = label, verdict.module
    return labels, by


def _outcome_of(verdicts: Sequence[Verdict]) -> float | None:
    """The turn's score by those who judge more than the step."""
    return combine([verdict for verdict in verdicts if verdict.module != PROCESS], {})


def _became(outcome: Outcome | None) -> str | None:
    if outcome is None:
        return None
    if outcome.drop_reason is not None:
        return outcome.drop_reason.value
    return f"trained@{outcome.trained_version}"
