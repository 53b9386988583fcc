"""What a turn log says about replies: corrections, comparisons, praise.

Invariants: side turns, cut replies and turns without a score say nothing; an explicit score counts
before verdicts; whoever judged is kept as provenance, whoever talked as user (the scope of their
key, which is a digest).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import chain
from statistics import fmean
from typing import NamedTuple, Protocol

from clawjax.data.preferences import Preference, Provenance, Rated, RowError, preferences_of
from clawjax.linking.corrections import corrections
from clawjax.log.replay import HasLinks, Placed, replay
from clawjax.records import FinishReason, JudgedTurn, Message, NextStateKind, Turn, TurnKind
from clawjax.verdicts import combine

__all__ = [
    "LoggedTurns",
    "Scored",
    "corrected",
    "praised",
    "preferred",
    "rated_of",
    "revised",
    "score_of",
    "unused",
]

_USABLE = (FinishReason.STOP, FinishReason.TOOL_CALLS)
_OF_THE_USER = ("feedback", "next_state", "quote")
"""Modules that read what the user themselves said or clicked."""
_OF_PEOPLE = ("human",)
"""Modules whose verdicts people gave who had been asked."""


class LoggedTurns(HasLinks, Protocol):
    """The slice of the turn log that is read."""

    def get(self, turn_id: str) -> JudgedTurn | None:
        """One turn with all that is known about it."""
        ...


class Scored(NamedTuple):
    """A score, and who gave it."""

    score: float
    provenance: Provenance


def score_of(judged: JudgedTurn) -> Scored | None:
    """What people said on purpose, else what the verdicts come to; None where there is neither.

    A label by a person who was asked counts before the user's own thumb, and this before modules.
    """
    asked = _mean(judged, _OF_PEOPLE)
    if asked is not None:
        return Scored(asked, Provenance.HUMAN)
    for state in judged.next_states:
        if state.kind is NextStateKind.FEEDBACK and state.score is not None:
            return Scored(state.score, Provenance.LIVE)
    score = combine(judged.verdicts, {})
    if score is None:
        return None
    is_live = _mean(judged, _OF_THE_USER) is not None
    return Scored(score, Provenance.LIVE if is_live else Provenance.AI)


def rated_of(log: HasLinks) -> Iterator[Rated]:
    """Every main turn that ended by itself and has a score."""
    for judged in replay(log):
        found = score_of(judged) if _is_usable(judged.turn) else None
        if found is not None and (rated := _rated(judged.turn, found)) is not None:
            yield rated


def corrected(log: LoggedTurns) -> Iterator[Preference]:
    """What users wrote in a reply's place, over that reply."""
    for correction in corrections(Placed(log)):
        judged = log.get(correction.turn_id)
        if judged is None or judged.turn.kind is not TurnKind.MAIN:
            continue
        turn = judged.turn
        try:
            yield Preference(
                prompt=turn.messages,
                chosen=correction.preferred,
                rejected=correction.rejected,
                provenance=Provenance.LIVE,
                user=turn.scope,
                source=turn.turn_id,
                tools_json=turn.tools_json,
            )
        except RowError:  # e.g. edited to nothing
            continue


def revised(log: HasLinks) -> Iterator[Preference]:
    """What a judge wrote in a reply's place and stands by, over that reply.

    Not where people liked the reply: their word counts before a judge's.
    """
    for judged in replay(log):
        turn = judged.turn
        if not _is_usable(turn) or _is_liked(judged):
            continue
        for text in filter(None, dict.fromkeys(v.revision for v in judged.verdicts)):
            try:
                yield Preference(
                    prompt=turn.messages,
                    chosen=Message("assistant", text),
                    rejected=turn.reply,
                    provenance=Provenance.AI,
                    user=turn.scope,
                    source=turn.turn_id,
                    tools_json=turn.tools_json,
                )
            except RowError:  # the reply itself
                continue


def preferred(log: LoggedTurns) -> list[Preference]:
    """Corrections, revisions, and replies to the same prompt of the same user by their scores.

    Every two whose scores differ; such replies come of asking again and of `n` > 1.
    """
    return [*corrected(log), *revised(log), *preferences_of(list(rated_of(log)))]


def praised(log: LoggedTurns, *, min_score: float = 0.0) -> Iterator[Rated]:
    """Replies worth imitating: with a higher score, or written by users or judges themselves."""
    yield from (rated for rated in rated_of(log) if rated.score > min_score)
    for pair in chain(corrected(log), revised(log)):
        yield Rated(
            prompt=pair.prompt,
            reply=pair.chosen,
            score=1.0,
            provenance=pair.provenance,
            user=pair.user,
            source=pair.source,
            tools_json=pair.tools_json,
        )


def unused(log: HasLinks, *, above: float | None = None) -> Counter[str]:
    """Turns whose own reply is no example and in no comparison, by the reason.

    Args:
        log: the turn log.
        above: of examples: a score that is no higher is a reason, too.
    """
    return Counter(reason for judged in replay(log) if (reason := _unused(judged, above)))


def _unused(judged: JudgedTurn, above: float | None) -> str | None:
    turn = judged.turn
    if turn.kind is not TurnKind.MAIN:
        return "side turns"
    if turn.finish_reason not in _USABLE:
        return "replies that were cut off"
    found = score_of(judged)
    if found is None:
        return "without a score"
    if above is not None and found.score <= above:
        return f"with a score of {above:g} or less"
    return "empty replies" if _rated(turn, found) is None else None


def _is_usable(turn: Turn) -> bool:
    return turn.kind is TurnKind.MAIN and turn.finish_reason in _USABLE


def _is_liked(judged: JudgedTurn) -> bool:
    """Whether people liked the reply, by what they said on purpose or did next."""
    found = score_of(judged)
    return found is not None and found.score > 0 and found.provenance is not Provenance.AI


def _rated(turn: Turn, found: Scored) -> Rated | None:
    try:
        return Rated(
            prompt=turn.messages,
            reply=turn.reply,
            score=found.score,
            provenance=found.provenance,
            user=turn.scope,
            source=turn.turn_id,
            tools_json=turn.tools_json,
        )
    except RowError:  # an empty reply
        return None


def _mean(judged: JudgedTurn, modules: tuple[str, ...]) -> float | None:
    scores = [v.score for v in judged.verdicts if v.module in modules and v.score is not None]
    return fmean(scores) if scores else None
