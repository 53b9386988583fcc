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

A task begins with a message of the user and goes on while tools answer. Where a step was sampled
again, each of its replies is in a task of its own, with all steps before it; but for those that
were cut or lost, and asked for again.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from clawjax.config import HUMAN, PROCESS, StepAspect
from clawjax.log.replay import replay
from clawjax.log.store import SqlTurnLog
from clawjax.openai_form import message_form
from clawjax.records import (
    DropReason,
    FinishReason,
    JudgedTurn,
    Outcome,
    Turn,
    TurnKind,
    Verdict,
)
from clawjax.review.episodes import is_continued
from clawjax.review.steps import process_score
from clawjax.verdicts import combine

__all__ = ["FORMAT", "trajectories"]

FORMAT = "clawjax.trajectory/1"


def trajectories(log: SqlTurnLog) -> Iterator[dict[str, Any]]:
    """Every task in which a tool was called, in the order of their last steps."""
    for turn_ids in _chains(log):
        found = [judged for turn_id in turn_ids if (judged := log.get(turn_id)) is not None]
        if found:  # not forgotten meanwhile
            yield _told(found, [log.outcome(judged.turn.turn_id) for judged in found])


@dataclass(slots=True)
class _Steps:
    """The main turns of a log, by their ids."""

    before: dict[str, str | None] = field(default_factory=dict)
    """The step that each goes on from; None where it begins a task. In order of logging."""
    place: dict[str, str | int] = field(default_factory=dict)
    """What each answers: that step's results, or a request that begins a task."""
    at: defaultdict[str | int, list[str]] = field(default_factory=lambda: defaultdict(list))
    """The turns of a place, in order of logging."""
    continued: set[str] = field(default_factory=set)
    cut: set[str] = field(default_factory=set)
    calling: set[str] = field(default_factory=set)

    def add(self, turn: Turn) -> None:
        """Behind all that it can go on from."""
        is_known = is_continued(turn) and turn.parent_turn_id in self.before
        parent = turn.parent_turn_id if is_known else None
        self.before[turn.turn_id] = parent
        place = hash((turn.session_id, turn.messages)) if parent is None else parent
        self.place[turn.turn_id] = place
        self.at[place].append(turn.turn_id)
        if parent is not None:
            self.continued.add(parent)
        if turn.finish_reason is FinishReason.CANCELLED:
            self.cut.add(turn.turn_id)
        if turn.reply.tool_calls:
            self.calling.add(turn.turn_id)

    def up_to(self, turn_id: str) -> list[str]:
        """A step and all before it, the first one first."""
        chain = [turn_id]
        while (before := self.before[chain[-1]]) is not None:
            chain.append(before)
        return chain[::-1]


def _chains(log: SqlTurnLog) -> list[list[str]]:
    """Turn ids of each task: a step with two successors is in as many tasks.

    A reply that did not arrive ends none where another stands in its place.
    """
    steps = _Steps()
    for judged in replay(log):
        if judged.turn.kind is TurnKind.MAIN:
            steps.add(judged.turn)
    last = (turn_id for turn_id in steps.before if turn_id not in steps.continued)
    chains = (steps.up_to(turn_id) for turn_id in last if _stands(turn_id, steps, log))
    return [chain for chain in chains if not steps.calling.isdisjoint(chain)]


def _stands(turn_id: str, steps: _Steps, log: SqlTurnLog) -> bool:
    """Whether it arrived; of several in one place of which none did, whether it is the newest."""

    def is_lost(each: str) -> bool:
        if each in steps.continued:
            return False
        if each in steps.cut:
            return True
        outcome = log.outcome(each)
        return outcome is not None and outcome.drop_reason is DropReason.RETRIED

    at_place = steps.at[steps.place[turn_id]]
    if len(at_place) == 1 or not is_lost(turn_id):
        return True
    return turn_id == at_place[-1] and all(is_lost(each) for each in at_place)


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
    said = dict.fromkeys(m for s in judged.next_states for m in s.messages)  # some of it twice
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
