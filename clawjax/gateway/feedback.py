"""Explicit feedback on a reply that was given: a score, a thumb, or words."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from clawjax.errors import WireError
from clawjax.gateway.collector import Collector
from clawjax.gateway.gateway_log import GatewayLog
from clawjax.gateway.wire import (
    JsonObject,
    read_flag,
    read_integer,
    read_number,
    read_text,
    reject,
    storable,
)
from clawjax.log.lateness import Use, use_of, why_late
from clawjax.records import JudgedTurn, Message, NextState, NextStateKind, Turn
from clawjax.verdicts import EXPLICIT_FEEDBACK

__all__ = ["Feedback", "FeedbackService", "parse_feedback"]

_THUMBS = {"up": 1.0, "down": -1.0}
_MOST_CHOICES = 127


@dataclass(frozen=True, slots=True)
class Feedback:
    """Exactly one of score and text is given."""

    response_id: str
    choice: int
    score: float | None
    text: str | None
    is_session_done: bool


class FeedbackService:
    """Records feedback for the judges."""

    def __init__(
        self,
        log: GatewayLog,
        collector: Collector,
        *,
        clock: Callable[[], float],
        on_linked: Callable[[], None],
        reads_ratings: bool = True,
        recalls_reactions: bool = False,
    ) -> None:
        self._reads_ratings = reads_ratings
        self._recalls_reactions = recalls_reactions
        self._log = log
        self._collector = collector
        self._clock = clock
        self._on_linked = on_linked

    async def give(self, feedback: Feedback, scope: str | None) -> dict[str, object]:
        """Record it; says whether it can still be used, and if not, or later only, why.

        Args:
            feedback: what was said, and of which reply.
            scope: whose reply it has to be; None where no keys tell.

        Raises:
            WireError: 404, no such response in this scope.
            LogError: nothing was recorded.
        """
        turn, (is_used, reason) = await asyncio.to_thread(self._record, feedback, scope)
        self._on_linked()
        if feedback.is_session_done:
            await self._collector.close_session(turn.scope, turn.session_id)
        answer: dict[str, object] = {"accepted": True, "used": is_used}
        return answer if reason is None else {**answer, "reason": reason}

    def _record(self, feedback: Feedback, scope: str | None) -> tuple[Turn, Use]:
        """Runs in a thread: the turn, and what the feedback is good for."""
        turn_id = self._log.find_response(feedback.response_id, feedback.choice)
        judged = None if turn_id is None else self._log.get(turn_id)
        if judged is None or scope not in (None, judged.turn.scope):
            msg = (
                f"no reply with response_id {feedback.response_id[:80]!r} and choice "
                f"{feedback.choice}: use the id of a chat completion that has ended"
            )
            raise WireError(msg, status=404, code="not_found", param="response_id")
        words = () if feedback.text is None else (Message("user", feedback.text),)
        self._log.append(
            NextState(
                turn_id=judged.turn.turn_id,
                kind=NextStateKind.FEEDBACK,
                arrived_at=self._clock(),
                messages=words,
                score=feedback.score,
            )
        )
        return judged.turn, self._use(feedback, judged)

    def _use(self, feedback: Feedback, known: JudgedTurn) -> Use:
        """What it is good for; `known` is the turn as it was before."""
        step = self._log.claimed_by(known.turn.turn_id)
        outcome = self._log.outcome(known.turn.turn_id)
        use = use_of(why_late(step, outcome), recalls_reactions=self._recalls_reactions)
        reason = self._why_unread(feedback, known) if use.is_used else None
        return use if reason is None else Use(False, reason)

    def _why_unread(self, feedback: Feedback, known: JudgedTurn) -> str | None:
        """None where it says something that what was said before did not."""
        if self._was_rated(known):
            return "the turn was rated before: the first rating counts"
        if feedback.score is not None and not self._reads_ratings:
            return "no module of reward.modules takes ratings: add feedback"
        return None

    def _was_rated(self, known: JudgedTurn) -> bool:
        """Words in which no judge finds a rating leave room for one; read they have to be first."""
        earlier = [state for state in known.next_states if state.kind is NextStateKind.FEEDBACK]
        has_number = any(state.score is not None for state in earlier)
        has_verdict = any(
            verdict.module == EXPLICIT_FEEDBACK and verdict.score is not None
            for verdict in known.verdicts
        )
        is_being_read = any(state in known.unjudged for state in earlier)
        return has_verdict or (self._reads_ratings and (has_number or is_being_read))


def parse_feedback(body: JsonObject) -> Feedback:
    """Validate a request body.

    Raises:
        WireError: 400, naming the field, what was found and what is expected.
    """
    response_id = read_text(body, "response_id")
    if not response_id:
        reject("response_id", "missing: expected the id of a chat completion")
    storable(response_id, "response_id")
    score = read_number(body, "score", -1.0, 1.0)
    thumbs = read_text(body, "thumbs")
    text = read_text(body, "text")
    if sum(value is not None for value in (score, thumbs, text)) != 1:
        reject("score", 'give exactly one of "score" (-1 to 1), "thumbs" (up or down) and "text"')
    if thumbs is not None and thumbs not in _THUMBS:
        reject("thumbs", f"{thumbs[:40]!r} is unknown: expected up or down")
    if text is not None and not text.strip():
        reject("text", "is empty: say something about the reply")
    return Feedback(
        response_id=response_id,
        choice=read_integer(body, "choice", 0, _MOST_CHOICES) or 0,
        score=score if thumbs is None else _THUMBS[thumbs],
        text=text,
        is_session_done=bool(read_flag(body, "session_done")),
    )
