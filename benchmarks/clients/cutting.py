"""Whether the turn log has one turn of an answer that broke off and was asked for again. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from clawjax.records import FinishReason, JudgedTurn, Link, Outcome
from clients.judging import Seen, judge

__all__ = ["judge_cut"]


def judge_cut(
    seen: Seen,
    logged: Sequence[JudgedTurn],
    links: Mapping[str, Link],
    outcomes: Mapping[str, Outcome],
) -> dict[str, Any]:
    """What `judge` says of the answers that were whole, and what became of those that were not.

    `cut` answers were logged as cancelled, `half_replies` stand in a later request as if they were
    whole, `trainable` are turns of such a moment that have not been dropped: one of each.
    """
    cut = [one for one in logged if one.turn.finish_reason is FinishReason.CANCELLED]
    whole = [one for one in logged if one.turn.finish_reason is not FinishReason.CANCELLED]
    row = judge(seen, whole, links)
    half = sum(_half_replies(seen, one) for one in logged)
    kept = [one.turn.turn_id for one in logged if not _is_dropped(one, outcomes)]
    said = [seen.served[turn_id].moment for turn_id in kept]
    trainable = {moment: said.count(moment) for moment in seen.cut}
    troubles = [row["reason"]] if row["reason"] else []
    troubles += _troubles(seen, cut, outcomes)
    troubles += [f"{half} histories have half a reply"] if half else []
    troubles += [f"{m.name} would be trained on {n} times" for m, n in trainable.items() if n != 1]
    counts = {"cut": len(cut), "half_replies": half, "trainable": sum(trainable.values())}
    return row | counts | {"ok": not troubles, "reason": "; ".join(troubles)}


def _troubles(
    seen: Seen, cut: Sequence[JudgedTurn], outcomes: Mapping[str, Outcome]
) -> Iterator[str]:
    moments = [seen.served[one.turn.turn_id].moment for one in cut]
    for moment in filter(seen.script.is_cut, seen.script.expected()):
        if moments.count(moment) != 1:
            yield f"{moment.name} was logged as cut {moments.count(moment)} times"
    for one, moment in zip(cut, moments, strict=True):
        if not _is_dropped(one, outcomes):
            yield f"{moment.name}, cut, was not dropped"


def _is_dropped(one: JudgedTurn, outcomes: Mapping[str, Outcome]) -> bool:
    ended = outcomes.get(one.turn.turn_id)
    return ended is not None and ended.drop_reason is not None


def _half_replies(seen: Seen, one: JudgedTurn) -> int:
    """Replies in a request's history that are the beginning of one that broke off."""
    said = [message.content.strip() for message in one.turn.messages if message.role == "assistant"]
    return sum(_is_half(text, seen.script.reply(moment)) for text in said for moment in seen.cut)


def _is_half(text: str, whole: str) -> bool:
    return 0 < len(text) < len(whole) and whole.startswith(text)
