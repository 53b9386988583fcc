"""Records to rows and back, without loss: `decode(encode(record)) == record`."""

from __future__ import annotations

import json
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from sqlalchemy import Table

from clawjax.log import schema
from clawjax.log.holding import ReviewRequest
from clawjax.records import (
    Component,
    DropReason,
    FinishReason,
    Grammar,
    GrammarKind,
    Link,
    LinkKind,
    Message,
    NextState,
    NextStateKind,
    Origin,
    Outcome,
    SamplingParams,
    ToolCall,
    Turn,
    TurnKind,
    Verdict,
    VersionRun,
)
from clawjax.texts import whole

__all__ = [
    "Record",
    "decode_link",
    "decode_next_state",
    "decode_outcome",
    "decode_turn",
    "decode_verdict",
    "row",
]

Record = Turn | NextState | Verdict | Outcome | Link | ReviewRequest
Row = Mapping[Any, Any]

_INTEGERS = "i"
_FLOATS = "d"


def row(record: Record) -> tuple[Table, dict[str, Any]]:
    """The table a record belongs to, and its row."""
    match record:
        case Turn():
            return schema.turns, _turn_row(record)
        case NextState():
            return schema.next_states, {
                **_plain(record),
                "messages": _dump([asdict(message) for message in record.messages]),
            }
        case Verdict():
            return schema.verdicts, _storable(
                {
                    **_plain(record),
                    "hints": _dump(record.hints),
                    "step_labels": _dump(record.step_labels),
                    "votes": _dump(record.votes),
                    "components": _dump(record.components),
                }
            )
        case Outcome():
            return schema.outcomes, _plain(record)
        case Link():
            return schema.links, {**_plain(record), "origin": _dump(asdict(record.origin))}
        case ReviewRequest():
            return schema.review_items, {**_plain(record), "reasons": _dump(record.reasons)}


def decode_turn(row: Row) -> Turn:
    """Rebuild a `Turn`."""
    values = {field.name: row[field.name] for field in fields(Turn)}
    values.update(
        kind=TurnKind(values["kind"]),
        finish_reason=FinishReason(values["finish_reason"]),
        messages=_messages(values["messages"]),
        reply=_message(json.loads(values["reply"])),
        prompt_ids=_unpack(_INTEGERS, values["prompt_ids"]),
        response_ids=_unpack(_INTEGERS, values["response_ids"]),
        sampler_logprobs=_unpack(_FLOATS, values["sampler_logprobs"]),
        sampler_logprobs_t1=_unpack(_FLOATS, values["sampler_logprobs_t1"]),
        token_versions=tuple(VersionRun(*run) for run in json.loads(values["token_versions"])),
        sampling=_sampling(json.loads(values["sampling"])),
    )
    return Turn(**values)


def decode_next_state(row: Row) -> NextState:
    """Rebuild a `NextState`."""
    return NextState(
        turn_id=row["turn_id"],
        kind=NextStateKind(row["kind"]),
        arrived_at=row["arrived_at"],
        messages=_messages(row["messages"]),
        score=row["score"],
    )


def decode_verdict(row: Row) -> Verdict:
    """Rebuild a `Verdict`."""
    values = {field.name: row[field.name] for field in fields(Verdict)}
    for name in ("hints", "step_labels", "votes"):
        values[name] = tuple(json.loads(row[name]))
    values["components"] = tuple(Component(*one) for one in json.loads(row["components"] or "[]"))
    return Verdict(**values)


def decode_outcome(row: Row) -> Outcome:
    """Rebuild an `Outcome`."""
    reason = row["drop_reason"]
    return Outcome(
        turn_id=row["turn_id"],
        decided_at=row["decided_at"],
        trained_version=row["trained_version"],
        drop_reason=None if reason is None else DropReason(reason),
    )


def decode_link(row: Row) -> Link:
    """Rebuild a `Link`."""
    values = {field.name: row[field.name] for field in fields(Link)}
    origin: dict[str, Any] = json.loads(values["origin"])
    said = origin["said_kind"]
    origin["said_kind"] = None if said is None else TurnKind(said)
    values.update(kind=LinkKind(values["kind"]), origin=Origin(**origin))
    return Link(**values)


def _turn_row(turn: Turn) -> dict[str, Any]:
    return {
        **_plain(turn),
        "messages": _dump([asdict(message) for message in turn.messages]),
        "reply": _dump(asdict(turn.reply)),
        "prompt_ids": _pack(_INTEGERS, turn.prompt_ids),
        "response_ids": _pack(_INTEGERS, turn.response_ids),
        "sampler_logprobs": _pack(_FLOATS, turn.sampler_logprobs),
        "sampler_logprobs_t1": _pack(_FLOATS, turn.sampler_logprobs_t1),
        "token_versions": _dump(turn.token_versions),
        "sampling": _dump(asdict(turn.sampling)),
    }


def _plain(record: Record) -> dict[str, Any]:
    return {field.name: getattr(record, field.name) for field in fields(record)}


def _storable(values: dict[str, Any]) -> dict[str, Any]:
    """With texts that every database takes: a judge's words may be anything."""
    return {
        name: whole(value).replace("\0", "") if isinstance(value, str) else value
        for name, value in values.items()
    }


def _dump(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _sampling(values: dict[str, Any]) -> SamplingParams:
    values.update(stop=tuple(values["stop"]), stop_token_ids=tuple(values["stop_token_ids"]))
    grammar = values.get("grammar")
    if grammar is not None:
        values["grammar"] = Grammar(GrammarKind(grammar["kind"]), grammar["text"])
    return SamplingParams(**values)


def _messages(text: str) -> tuple[Message, ...]:
    return tuple(_message(values) for values in json.loads(text))


def _message(values: dict[str, Any]) -> Message:
    values["tool_calls"] = tuple(ToolCall(**call) for call in values["tool_calls"])
    return Message(**values)


def _pack(code: str, values: Sequence[float]) -> bytes:
    return array(code, values).tobytes()


def _unpack(code: str, blob: bytes) -> tuple[Any, ...]:
    values: array[Any] = array(code)
    values.frombytes(blob)
    return tuple(values)
