"""Reviews as JSON lines: what was asked about, with its context, and what people said of it.

Owns the format `clawjax.review/1`, one object per line:

    format    "clawjax.review/1"
    turn_id   the turn
    reasons   why people were asked; [] where they were not
    messages  the request: OpenAI's chat messages, up to what was answered
    reply     what is judged: an assistant message
    next      what came after it: chat messages
    judges    score per reward module, null where it abstained
    label     null where nobody has said anything, else
      reviewer     who
      score        -1 to 1; null: cannot tell
      steps        per aspect of `clawjax.config.StepAspect`, -1 to 1; those left out: no opinion
      hints        what the assistant should have been told beforehand, best first
      note         free text
      labelled_at  Unix seconds

One line per label, and one with `label: null` for a turn that waits: fill it in and read it back.
Reading needs `turn_id` and `label` only; of a label only `reviewer` and `score`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from clawjax.config import StepAspect
from clawjax.errors import LogError
from clawjax.log.store import SqlTurnLog
from clawjax.openai_form import message_form
from clawjax.records import JudgedTurn
from clawjax.review.label import Label
from clawjax.review.queue import ReviewQueue

__all__ = [
    "FORMAT",
    "described",
    "lines",
    "read_label",
    "read_lines",
    "steps_from",
    "steps_told",
]

FORMAT = "clawjax.review/1"
_MALFORMED = (
    ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError,
)  # fmt: skip


def lines(
    log: SqlTurnLog, queue: ReviewQueue, *, is_open_included: bool = False
) -> Iterator[dict[str, Any]]:
    """Every label with its context, oldest first, then, if wanted, the turns that wait for one."""
    reasons = {request.turn_id: request.reasons for request in queue.requests()}
    labels = queue.labels()
    waiting = [request.turn_id for request in queue.requests(is_open=True)]
    for turn_id, label in (
        *((label.turn_id, label) for label in labels),
        *((turn_id, None) for turn_id in (waiting if is_open_included else ())),
    ):
        judged = log.get(turn_id)
        if judged is not None:  # not forgotten meanwhile
            yield described(judged, reasons.get(turn_id, ())) | {"label": _told(label)}


def described(judged: JudgedTurn, reasons: Sequence[str]) -> dict[str, Any]:
    """A turn as people are shown it, without a label."""
    turn = judged.turn
    after = dict.fromkeys(m for state in judged.next_states for m in state.messages)
    return {
        "format": FORMAT,
        "turn_id": turn.turn_id,
        "reasons": list(reasons),
        "messages": [message_form(message) for message in turn.messages],
        "reply": message_form(turn.reply),
        "next": [message_form(message) for message in after],
        "judges": {verdict.module: verdict.score for verdict in judged.verdicts},
    }


def read_lines(texts: Iterable[str], *, now: float) -> Iterator[Label]:
    """The labels in a file's lines; lines that wait for one are passed over.

    Raises:
        LogError: a line is no such object; says which, and what is expected.
    """
    for number, text in enumerate(texts, start=1):
        if not text.strip():
            continue
        try:
            label = read_label(json.loads(text), now=now)
        except _MALFORMED as error:
            msg = f"line {number} is no review ({error}): see the format in docs/review.md"
            raise LogError(msg) from error
        if label is not None:
            yield label


def read_label(line: Mapping[str, Any], *, now: float) -> Label | None:
    """The label of one line; None where it waits for one.

    Args:
        line: as `lines` gives it.
        now: Unix seconds, where the label has no time.

    Raises:
        ValueError, TypeError, LookupError, AttributeError: it is no such line.
    """
    said = line["label"]
    if said is None:
        return None
    score = said["score"]
    return Label(
        turn_id=str(line["turn_id"]),
        reviewer=_whole(said["reviewer"]),
        score=None if score is None else float(score),
        labelled_at=float(said.get("labelled_at") or now),
        steps=steps_from(said.get("steps") or {}),
        hints=_hints(said.get("hints") or ()),
        note=_whole(said.get("note") or ""),
    )


def _hints(told: object) -> tuple[str, ...]:
    if isinstance(told, str) or not isinstance(told, Sequence):
        msg = "hints are a list of texts"
        raise TypeError(msg)
    return tuple(map(_whole, told))


def _whole(text: object) -> str:
    """A text as databases take it.

    Raises:
        ValueError: it has half of a surrogate pair, as of an emoji.
    """
    told = str(text)
    told.encode()
    return told


def steps_from(told: Mapping[str, Any]) -> tuple[float | None, ...]:
    """Values by aspect as one per aspect, in order; empty where there is none.

    Raises:
        ValueError: an unknown aspect, or a value that is no number.
    """
    unknown = sorted(set(told) - set(StepAspect))
    if unknown:
        msg = f"unknown aspects {', '.join(unknown)}: use {', '.join(StepAspect)}"
        raise ValueError(msg)
    values = tuple(told.get(aspect) for aspect in StepAspect)
    if all(value is None for value in values):
        return ()
    return tuple(None if value is None else float(value) for value in values)


def steps_told(steps: Sequence[float | None]) -> dict[str, float]:
    """Undo `steps_from`."""
    pairs = zip(StepAspect, steps, strict=True) if steps else ()
    return {aspect.value: value for aspect, value in pairs if value is not None}


def _told(label: Label | None) -> dict[str, Any] | None:
    if label is None:
        return None
    told = asdict(label) | {"steps": steps_told(label.steps), "hints": list(label.hints)}
    del told["turn_id"]
    return told
