"""Collection: requests become turns, turns are linked to what came after them.

Invariants: a turn is committed before the last byte of its reply leaves; a reaction is committed,
and the judges are woken, before the next reply is begun; a reply that was not delivered is kept as
cancelled and dropped. The log is only called from worker threads.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from clawjax.errors import LogError
from clawjax.gateway.caller import Caller
from clawjax.gateway.render import Prior
from clawjax.gateway.sessions import (
    KnownTurn,
    Reaction,
    SessionKey,
    Sessions,
    reaction_of,
)
from clawjax.records import (
    DropReason,
    FinishReason,
    JudgedTurn,
    Message,
    NextState,
    NextStateKind,
    Outcome,
    Turn,
    TurnKind,
    Verdict,
    expand_versions,
)

__all__ = ["Collector", "GatewayLog", "Visit"]

_log = logging.getLogger(__name__)

_REBUILT_TURNS = 4096
_LONGEST_TICK_S = 30.0
_TICKS_PER_IDLE = 4


class GatewayLog(Protocol):
    """The part of the turn log that the gateway uses. Synchronous and thread-safe."""

    def append(self, *records: Turn | NextState | Verdict | Outcome) -> None:
        """Commit records in one transaction; a known key changes nothing."""
        ...

    def get(self, turn_id: str) -> JudgedTurn | None:
        """One turn with all that is known about it."""
        ...

    def outcome(self, turn_id: str) -> Outcome | None:
        """How a turn ended."""
        ...

    def find_response(self, response_id: str, choice: int = 0) -> str | None:
        """The turn behind a response id."""
        ...

    def open_turns(self, *, limit: int) -> Sequence[Turn]:
        """The newest main turns that nobody has answered, oldest first."""
        ...

    def count(self, name: str, n: int = 1) -> None:
        """Add to a persistent counter."""
        ...


@dataclass(frozen=True, slots=True)
class Visit:
    """A request that has found its session."""

    key: SessionKey
    arrived_at: float
    parent_turn_id: str | None
    prior: Prior | None
    """What the prompt may continue, token by token."""
    reaction: Reaction | None


class Collector:
    """Writes turns and reactions; the only owner of the session tree."""

    def __init__(
        self,
        log: GatewayLog,
        sessions: Sessions,
        *,
        clock: Callable[[], float],
        on_linked: Callable[[], None],
        session_idle_s: float,
    ) -> None:
        self._log = log
        self._sessions = sessions
        self._clock = clock
        self._on_linked = on_linked
        self._session_idle_s = session_idle_s

    async def rebuild(self) -> None:
        """Recognise conversations that were open when the last process ended.

        Raises:
            LogError: the log cannot be read.
        """
        for turn in await asyncio.to_thread(self._log.open_turns, limit=_REBUILT_TURNS):
            if turn.finish_reason is not FinishReason.CANCELLED:
                self._sessions.add(turn, now=turn.finished_at)

    @contextmanager
    def visit(
        self, caller: Caller, messages: Sequence[Message], arrived_at: float
    ) -> Iterator[Visit]:
        """Find the session; it does not become idle while the visit lasts."""
        match = self._sessions.find(caller.scope, caller.session_id, messages)
        key = match.key or SessionKey(caller.scope, uuid.uuid4().hex)
        parent, is_main = match.parent, caller.kind is TurnKind.MAIN
        self._sessions.enter(key, self._clock())
        try:
            yield Visit(
                key=key,
                arrived_at=arrived_at,
                parent_turn_id=parent.turn_id if parent else None,
                prior=_prior(parent, match.reply_index),
                reaction=reaction_of(match, messages) if is_main else None,
            )
        finally:
            self._sessions.leave(key, self._clock())

    async def link(self, visit: Visit) -> None:
        """Commit the reaction that a request brings, then wake the judges.

        Raises:
            LogError: nothing was linked; the same reaction can be linked by a retry.
        """
        reaction = visit.reaction
        if reaction is None or reaction.turn.is_answered:
            return
        reaction.turn.is_answered = True  # before the wait: a twin request must not link it again
        state = NextState(
            turn_id=reaction.turn.turn_id,
            kind=reaction.kind,
            arrived_at=visit.arrived_at,
            messages=reaction.messages,
        )
        try:
            await _finish(self._log.append, state)
        except LogError:
            reaction.turn.is_answered = False
            raise
        self._on_linked()

    async def commit(self, turn: Turn) -> None:
        """Make a finished turn durable and recognisable.

        Raises:
            LogError: the turn is not in the log; the client must not take it for complete.
        """
        records: list[Turn | Outcome] = [turn]
        if (reason := _drop_reason(turn)) is not None:
            records.append(Outcome(turn.turn_id, self._clock(), drop_reason=reason))
        key = SessionKey(turn.scope, turn.session_id)
        forgotten = self._sessions.add(turn, self._clock())
        try:
            await _finish(self._log.append, *records)
        except LogError:
            self._sessions.remove(turn.turn_id, key)
            raise
        await self._close_quietly(forgotten)

    async def abandon(self, turn: Turn) -> None:
        """Keep what was sampled of a reply that nobody got to the end of.

        The caller is already failing, so a log that cannot be written is only reported.
        """
        reason = DropReason.SIDE if turn.kind is TurnKind.SIDE else DropReason.CANCELLED
        outcome = Outcome(turn.turn_id, self._clock(), drop_reason=reason)
        try:
            await _finish(self._log.append, turn, outcome)
        except LogError as error:
            _log.error("cancelled turn %s is not in the log: %s", turn.turn_id, error)

    async def close_session(self, scope: str, session_id: str) -> None:
        """Nothing more will come: tell the judges about the turns nobody reacted to.

        Raises:
            LogError: the session is still open.
        """
        await self._close(self._sessions.open_turns(SessionKey(scope, session_id)))

    async def close_idle(self) -> None:
        """Close the sessions that nobody has visited for `session_idle_s`."""
        await self._close_quietly(self._sessions.idle(self._clock() - self._session_idle_s))

    async def run_idle_closer(self) -> None:
        """Call `close_idle` now and then, for ever."""
        tick_s = min(self._session_idle_s / _TICKS_PER_IDLE, _LONGEST_TICK_S)
        while True:
            await asyncio.sleep(tick_s)
            await self.close_idle()

    async def _close_quietly(self, turns: Sequence[KnownTurn]) -> None:
        """Close turns where no request is there to be told of a failure."""
        try:
            await self._close(turns)
        except LogError as error:
            _log.error("%d turns stay open for now: %s", len(turns), error)

    async def _close(self, turns: Sequence[KnownTurn]) -> None:
        if not turns:
            return
        for turn in turns:
            turn.is_closed = True
        try:
            await _finish(self._log_closed, [turn.turn_id for turn in turns])
        except LogError:
            for turn in turns:
                turn.is_closed = False
            raise
        self._on_linked()

    def _log_closed(self, turn_ids: Sequence[str]) -> None:
        """Runs in a thread. Turns closed before a restart are not closed again."""
        now = self._clock()
        found = [self._log.get(turn_id) for turn_id in turn_ids]
        self._log.append(
            *(
                NextState(judged.turn.turn_id, NextStateKind.SESSION_CLOSED, now)
                for judged in found
                if judged is not None
                and all(s.kind is not NextStateKind.SESSION_CLOSED for s in judged.next_states)
            )
        )


async def _finish(write: Callable[..., None], *arguments: object) -> None:
    """Run a write in a thread to its end, also where the client leaves while it waits its turn.

    Cancelling would take a write that no thread has begun out of the queue: what the session tree
    has noted would not be in the log.
    """
    writing = asyncio.ensure_future(asyncio.to_thread(write, *arguments))
    try:
        await asyncio.shield(writing)
    except asyncio.CancelledError:
        await asyncio.wait([writing])
        writing.result()
        raise


def _prior(parent: KnownTurn | None, reply_index: int | None) -> Prior | None:
    if parent is None or reply_index is None or parent.kind is TurnKind.SIDE:
        return None
    return Prior(parent.prompt_ids, parent.response_ids, parent.tools_json, reply_index)


def _drop_reason(turn: Turn) -> DropReason | None:
    """Why a finished turn can never be trained on, if so."""
    if turn.kind is TurnKind.SIDE:
        return DropReason.SIDE
    if not turn.response_ids:
        return DropReason.EMPTY_RESPONSE
    if not turn.sampler_logprobs:
        return DropReason.NO_LOGPROBS
    versions = len(expand_versions(turn.token_versions))
    lengths = {versions, len(turn.sampler_logprobs), len(turn.response_ids)}
    is_even = lengths | {len(turn.sampler_logprobs_t1) or versions} == {versions}
    return None if is_even else DropReason.LENGTH_MISMATCH
