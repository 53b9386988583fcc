r"""Lines of the common preference files, as records and back.

Five shapes, told apart by their keys:

- `trl`: `chosen` and `rejected`, as messages or texts, with `prompt` or with the prompt as their
  common beginning; `margin`, or `score_chosen` and `score_rejected`. TRL's "preference" format:
  huggingface.co/docs/trl/dataset_formats.
- `hh`: `chosen` and `rejected` as whole dialogues, `"\n\nHuman: ... \n\nAssistant: ..."`.
  Bai et al. 2022, arXiv:2204.05862, github.com/anthropics/hh-rlhf.
- `ultrafeedback`: an `instruction` and several `completions` with `overall_score` (1 to 10),
  `fine-grained_score` (1 to 5) or ratings by aspect (1 to 5). Cui et al. 2023, arXiv:2310.01377.
- `kto`: `prompt`, `completion` and a `label`, true for a thumb up; TRL's "unpaired preference".
- `sft`: `messages` that end with the reply, or `prompt` and `completion`.

Every shape but `hh` may have `user`, `source`, `provenance`, `tools` and, where there is a single
reply, `score`; what clawjax writes has them. Invariant: `row_of(form_of(row, shape)) == row` for
what a shape can hold, but for white space in the arguments of calls, which are objects in `trl` and
`kto`; a shape that cannot hold a row refuses it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from statistics import fmean
from typing import Any

from clawjax.data.messages import as_messages
from clawjax.data.preferences import Preference, Provenance, Rated, Row, RowError
from clawjax.errors import DataError
from clawjax.openai_form import message_form
from clawjax.records import Message

__all__ = ["SHAPES", "form_of", "forms_of", "parts_of", "rows_of", "shape_of"]

SHAPES = ("trl", "hh", "ultrafeedback", "kto", "sft")
"""What can be read and written."""

_SPEAKER = re.compile(r"\n\n(Human|Assistant):")
_ROLES = {"Human": "user", "Assistant": "assistant"}
_SPEAKERS = {role: speaker for speaker, role in _ROLES.items()}


def shape_of(form: Mapping[str, Any]) -> str:
    """Which of `SHAPES` a line has.

    Raises:
        DataError: none of them.
    """
    keys = form.keys()
    if {"chosen", "rejected"} <= keys:
        is_dialogue = isinstance(form["chosen"], str) and _SPEAKER.match(form["chosen"])
        return "hh" if is_dialogue and "prompt" not in keys else "trl"
    if "completions" in keys:
        return "ultrafeedback"
    if {"prompt", "completion", "label"} <= keys:
        return "kto"
    if "messages" in keys or {"prompt", "completion"} <= keys:
        return "sft"
    msg = f"keys {', '.join(sorted(keys)) or '(none)'} are of no known shape: {', '.join(SHAPES)}"
    raise DataError(msg)


def parts_of(form: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """A line as lines of one reply or pair each: of no use is one of several, not all of them.

    A key with null is not there: lines of a table with several shapes have the keys of all.

    Raises:
        DataError: of no known shape.
    """
    given = _given(form)
    if shape_of(given) != "ultrafeedback":
        return [given]
    return [{**given, "completions": [_given(said)]} for said in given["completions"]]


def _given(form: Mapping[str, Any]) -> Mapping[str, Any]:
    return {key: value for key, value in form.items() if value is not None}


def rows_of(form: Mapping[str, Any], *, provenance: Provenance, source: str) -> list[Row]:
    """What one line says: one row, or one for each of several completions.

    Args:
        form: the line.
        provenance: where the line does not say who judged.
        source: where it does not say what it was made from.

    Raises:
        DataError: of no known shape, or something is missing.
        RowError: nobody can learn from it.
    """
    kept = _Kept.of(form, provenance, source)
    match shape_of(form):
        case "hh":
            chosen, rejected = _dialogue(form["chosen"]), _dialogue(form["rejected"])
            return [_pair(chosen, rejected, None, kept)]
        case "trl":
            prompt = as_messages(form["prompt"], role="user") if "prompt" in form else ()
            chosen, rejected = (
                _whole(prompt, as_messages(form[name], role="assistant"))
                for name in ("chosen", "rejected")
            )
            return [_pair(chosen, rejected, _margin(form), kept)]
        case "ultrafeedback":
            prompt = as_messages(form["instruction"], role="user")
            return [
                _rated(
                    (*prompt, Message("assistant", said["response"])),
                    _overall(said),
                    _Kept.of({**form, **_own(said)}, provenance, source),
                )
                for said in form["completions"]
            ]
        case "kto":
            label = form["label"]
            if label not in (True, False):
                msg = f"label {label!r} is no thumb: use true or false"
                raise DataError(msg)
            score = form.get("score", 1.0 if label else -1.0)
            return [_rated(_told(form), float(score), kept)]
        case _:
            return [_rated(_told(form), float(form.get("score", 1.0)), kept)]


def form_of(row: Row, shape: str) -> dict[str, Any]:
    """A line of a shape.

    Raises:
        DataError: the shape cannot hold the row, or is unknown.
    """
    match shape, row:
        case "trl", Preference():
            margin = {} if row.margin is None else {"margin": row.margin}
            return {
                "prompt": _templated(row.prompt),
                "chosen": _templated((row.chosen,)),
                "rejected": _templated((row.rejected,)),
                **margin,
                **_said(row),
            }
        case "hh", Preference():
            return {
                "chosen": _transcript((*row.prompt, row.chosen)),
                "rejected": _transcript((*row.prompt, row.rejected)),
            }
        case "kto", Rated():
            return {
                "prompt": _templated(row.prompt),
                "completion": _templated((row.reply,)),
                "label": row.is_liked,
                "score": row.score,
                **_said(row),
            }
        case "sft", Rated():
            return {"messages": _forms((*row.prompt, row.reply)), "score": row.score, **_said(row)}
    kind = "a pair" if isinstance(row, Preference) else "a rated reply"
    msg = f"{kind} ({row.source!r}) is no line of the shape {shape!r}: choose another of {SHAPES}"
    raise DataError(msg)


def forms_of(rows: Iterable[Row], shape: str) -> list[dict[str, Any]]:
    """Lines of a shape; those of `ultrafeedback` hold all rated replies to a prompt.

    Raises:
        DataError: as `form_of`.
    """
    if shape != "ultrafeedback":
        return [form_of(row, shape) for row in rows]
    groups: dict[tuple[object, ...], list[Rated]] = {}
    for row in rows:
        is_plain = isinstance(row, Rated) and [m.role for m in row.prompt] == ["user"]
        if not is_plain or not isinstance(row, Rated) or row.reply.tool_calls or row.tools_json:
            msg = f"row {row.source!r} is not one reply to one question: use the shape trl or kto"
            raise DataError(msg)
        groups.setdefault((row.prompt, row.user), []).append(row)
    return list(map(_compared, groups.values()))


def _compared(group: Sequence[Rated]) -> dict[str, Any]:
    """A line of several replies; what is not said of all of them is said of each."""
    said = list(map(_said, group))
    common = {
        key: value for key, value in said[0].items() if all(o.get(key) == value for o in said)
    }
    return {
        "instruction": group[0].prompt[0].content,
        "completions": [
            {
                "response": row.reply.content,
                "overall_score": 5.5 + 4.5 * row.score,
                **{key: value for key, value in own.items() if key not in common},
            }
            for row, own in zip(group, said, strict=True)
        ],
        **common,
    }


class _Kept:
    """What a line says beside the conversation."""

    def __init__(
        self, provenance: Provenance, user: str, source: str, tools_json: str | None
    ) -> None:
        self.fields: dict[str, Any] = {
            "provenance": provenance,
            "user": user,
            "source": source,
            "tools_json": tools_json,
        }

    @classmethod
    def of(cls, form: Mapping[str, Any], provenance: Provenance, source: str) -> _Kept:
        named = form.get("provenance", provenance)
        if named not in tuple(Provenance):
            msg = f"provenance {named!r} is unknown: use {', '.join(Provenance)}"
            raise DataError(msg)
        tools = form.get("tools") or None
        if isinstance(tools, str):
            json.loads(tools)
        elif tools is not None:
            tools = json.dumps(tools, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        own = form.get("source")  # of UltraFeedback, the data set that a question is from
        return cls(Provenance(named), str(form.get("user") or ""), str(own or source), tools)


def _pair(
    chosen: Sequence[Message], rejected: Sequence[Message], margin: float | None, kept: _Kept
) -> Preference:
    if chosen[:-1] != rejected[:-1]:
        raise RowError("its conversations part before their last reply", kept.fields["source"])
    return Preference(
        prompt=tuple(chosen[:-1]),
        chosen=chosen[-1],
        rejected=rejected[-1],
        margin=margin,
        **kept.fields,
    )


def _rated(told: Sequence[Message], score: float, kept: _Kept) -> Rated:
    return Rated(prompt=tuple(told[:-1]), reply=told[-1], score=score, **kept.fields)


def _told(form: Mapping[str, Any]) -> tuple[Message, ...]:
    """A conversation that ends with the reply."""
    if "messages" in form:
        return as_messages(form["messages"], role="user")
    prompt = as_messages(form["prompt"], role="user")
    return _whole(prompt, as_messages(form["completion"], role="assistant"))


def _whole(prompt: Sequence[Message], reply: Sequence[Message]) -> tuple[Message, ...]:
    """Prompt and reply; some files repeat the prompt before the reply."""
    if not reply:
        raise RowError("a reply is missing")
    is_repeated = len(reply) > 1 and tuple(reply[: len(prompt)]) == tuple(prompt)
    return tuple(reply) if is_repeated else (*prompt, *reply)


def _dialogue(text: object) -> tuple[Message, ...]:
    r"""`"\n\nHuman: ... \n\nAssistant: ..."` as messages."""
    if not isinstance(text, str) or not _SPEAKER.match(text):
        msg = "a dialogue has to begin with '\\n\\nHuman:'"
        raise DataError(msg)
    _, *parts = _SPEAKER.split(text)
    said = zip(parts[::2], parts[1::2], strict=True)
    return tuple(Message(_ROLES[speaker], words.removeprefix(" ")) for speaker, words in said)


def _transcript(messages: Sequence[Message]) -> str:
    for message in messages:
        if message.role not in _SPEAKERS or message.tool_calls or _SPEAKER.search(message.content):
            msg = f"a dialogue of the shape 'hh' cannot hold a message of role {message.role!r}, "
            raise DataError(msg + "calls, or words that look like its marks: use the shape trl")
    return "".join(f"\n\n{_SPEAKERS[m.role]}: {m.content}" for m in messages)


def _margin(form: Mapping[str, Any]) -> float | None:
    """What the file says; one that is not above 0 makes no pair, whichever was chosen."""
    margin = form.get("margin")
    if margin is None and {"score_chosen", "score_rejected"} <= form.keys():
        margin = form["score_chosen"] - form["score_rejected"]
    return None if margin is None else float(margin)


def _overall(completion: Mapping[str, Any]) -> float:
    """A completion's score on the scale of `Rated`."""
    overall = completion.get("overall_score")
    if overall is not None:
        return (float(overall) - 5.5) / 4.5
    fine = completion.get("fine-grained_score")
    if fine is None:
        aspects = (completion.get("annotations") or {}).values()
        ratings = [_rating(aspect["Rating"]) for aspect in aspects if "Rating" in aspect]
        known = [rating for rating in ratings if rating is not None]
        if not known:
            raise RowError("a completion has no score")
        fine = fmean(known)
    return (float(fine) - 3.0) / 2.0


def _own(completion: Mapping[str, Any]) -> dict[str, Any]:
    """What a completion says of itself that a line says of all of them elsewhere."""
    return {key: completion[key] for key in ("provenance", "source") if key in completion}


def _rating(text: object) -> float | None:
    """Annotators may answer "N/A"."""
    return float(str(text)) if str(text).replace(".", "", 1).isdigit() else None


def _forms(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """As OpenAI has them: arguments of calls are JSON texts."""
    return list(map(message_form, messages))


def _templated(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """As chat templates, and so TRL, have them: arguments of calls are objects."""
    forms = _forms(messages)
    for call in (call for form in forms for call in form.get("tool_calls", ())):
        with suppress(ValueError, RecursionError):
            found = json.loads(call["function"]["arguments"])
            # What is no JSON to others (infinity, half of a surrogate pair) stays the text it was.
            json.dumps(found, ensure_ascii=False, allow_nan=False).encode()
            if isinstance(found, dict):  # a small model may have called with anything
                call["function"]["arguments"] = found
    return forms


def _said(row: Row) -> dict[str, Any]:
    said: dict[str, Any] = {"provenance": row.provenance.value}
    if row.user:
        said["user"] = row.user
    if row.source:
        said["source"] = row.source
    if row.tools_json is not None:
        said["tools"] = json.loads(row.tools_json)
    return said
