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
from dataclasses import dataclass, field

from clawjax.config import LinkingConfig
from clawjax.errors import LogError
from clawjax.gateway.caller import Caller
from clawjax.gateway.gateway_log import GatewayLog
from clawjax.gateway.priors import prior_of
from clawjax.gateway.render import Prior
from clawjax.gateway.sessions import Sessions
from clawjax.linking.linker import LinkDecision, Linker
from clawjax.linking.reactions import answer_of, still_new
from clawjax.linking.reading import Asked
from clawjax.linking.tree import Node, SessionRef, Tree
from clawjax.records import (
    DropReason,
    FinishReason,
    JudgedTurn,
    Link,
    LinkKind,
    Message,
    NextState,
    NextStateKind,
    Outcome,
    Turn,
    TurnKind,
    expand_versions,
)

__all__ = ["Collector", "Visit"]

logger = logging.getLogger(__name__)

_REBUILT_TURNS = 4096
_LONGEST_TICK_S = 30.0
_TICKS_PER_IDLE = 4
_ANSWERS = (NextStateKind.USER, NextStateKind.TOOL)
_UNKNOWN_SHAPES = "unknown_shapes"
"""Counts the requests that no rule of linking explains."""


@dataclass(frozen=True, slots=True)
class Visit:
    """A request that has found its session."""

    session: SessionRef
    kind: TurnKind
    arrived_at: float
    parent_turn_id: str | None = None
    prior: Prior | None = None
    """What the prompt may continue, token by token."""
    placement: LinkDecision | None = None
    """None where nobody remembers the conversation."""
    committed: set[str] = field(default_factory=set)
    """Turns that go into the log, while nobody knows yet whether their replies arrive."""


class Collector:
    """Writes turns and reactions; the only owner of the session tree."""

    def __init__(
        self,
        log: GatewayLog,
        *,
        clock: Callable[[], float],
        on_linked: Callable[[], None],
        session_idle_s: float,
        linking: LinkingConfig,
        default_kind: TurnKind = TurnKind.MAIN,
    ) -> None:
        self._log = log
        self._tree = Tree()
        self.sessions = Sessions(self._tree)
        self._linker = Linker(self._tree, linking, default_kind=default_kind)
        self._clock = clock
        self._on_linked = on_linked
        self._session_idle_s = session_idle_s
        self._forgotten = 0

    async def rebuild(self) -> None:
        """Recognise conversations that were open when the last process ended, the newest that fit.

        Turns that wait and are not recognised any more are closed: nothing can come after them.

        Raises:
            LogError: the log cannot be read.
        """
        waiting = await asyncio.to_thread(self._log.waiting)
        leaves = await asyncio.to_thread(self._log.leaves, limit=_REBUILT_TURNS)
        turn_ids = self._tree.fitting(leaves)
        links = await asyncio.to_thread(self._log.links, turn_ids)
        for turn_id in reversed(turn_ids):
            found = await asyncio.to_thread(self._log.get, turn_id)
            if found is not None and turn_id in links:
                self._remember(found, links[turn_id])
        known = {node.turn_id for _, nodes in self._tree.sessions() for node in nodes}
        await self._close_lost([turn_id for turn_id in waiting if turn_id not in known])

    @contextmanager
    def visit(
        self,
        caller: Caller,
        messages: Sequence[Message],
        tools_json: str | None,
        arrived_at: float,
    ) -> Iterator[Visit]:
        """Place a request; its session does not become idle while the visit lasts.

        A visit that ends with an exception leaves its turns as replies that did not arrive.
        """
        if not caller.is_logged:
            unnamed = SessionRef(caller.scope, uuid.uuid4().hex)
            yield Visit(unnamed, TurnKind.SIDE, arrived_at)
            return
        asked = Asked(caller.scope, caller.origin, tuple(messages), tools_json, arrived_at)
        placement = self._linker.place(asked)
        session = placement.session or SessionRef(caller.scope, uuid.uuid4().hex)
        parent = placement.parent
        visit = Visit(
            session=session,
            kind=placement.judged.kind,
            arrived_at=arrived_at,
            parent_turn_id=None if parent is None else parent.node.turn_id,
            prior=prior_of(parent, messages),
            placement=placement,
        )
        self.sessions.enter(session, self._clock())
        try:
            yield visit
        except BaseException:
            for node in self._tree.session(session):
                node.is_delivered = node.is_delivered and node.turn_id not in visit.committed
            raise
        finally:
            self.sessions.leave(session, self._clock())

    async def link(self, visit: Visit) -> None:
        """Commit what a request says about turns before it, then wake the judges.

        Nothing comes after the other replies to the same prompt any more, for all that is known:
        they are judged by themselves, beside the one that was chosen.

        Raises:
            LogError: nothing was linked; the same reaction can be linked by a retry.
        """
        placement = visit.placement
        if placement is None:
            return
        if placement.shape is not None:
            await self._report_shape(placement.shape)
        if placement.kind is LinkKind.RESAMPLE and placement.of is not None:
            placement.of.node.has_arrived = True
        await self._drop_superseded(placement.superseded)
        reaction = None if placement.reaction is None else still_new(placement.reaction)
        if reaction is None:
            return
        reaction.node.answer = reaction.answer  # before the wait: no twin must link it again
        passed = [node for node in placement.passed if node.is_open]
        state = NextState(
            turn_id=reaction.node.turn_id,
            kind=reaction.kind,
            arrived_at=visit.arrived_at,
            messages=reaction.messages,
        )
        now = self._clock()
        closed = [NextState(node.turn_id, NextStateKind.SESSION_CLOSED, now) for node in passed]
        for node in passed:
            node.is_closed = True
        try:
            await _finish(self._log.append, state, *closed)
        except LogError:
            if reaction.node.answer == reaction.answer:  # nobody has said more meanwhile
                reaction.node.answer = reaction.earlier
            for node in passed:
                node.is_closed = False
            raise
        self._on_linked()

    async def commit(self, visit: Visit, turn: Turn) -> None:
        """Make a finished turn durable and recognisable.

        Raises:
            LogError: the turn is not in the log; the client must not take it for complete.
        """
        if visit.placement is None:
            return
        link = visit.placement.link(turn.turn_id)
        records: list[Turn | Link | Outcome] = [turn, link]
        if (reason := _drop_reason(turn)) is not None:
            records.append(Outcome(turn.turn_id, self._clock(), drop_reason=reason))
        visit.committed.add(turn.turn_id)  # before the wait: the client may leave during it
        await self._keep(visit, turn, link, records)

    async def abandon(self, visit: Visit, turn: Turn) -> None:
        """Keep what was sampled of a reply that nobody got to the end of.

        The caller is already failing, so a log that cannot be written is only reported.
        """
        if visit.placement is None:
            return
        link = visit.placement.link(turn.turn_id)
        reason = DropReason.SIDE if turn.kind is TurnKind.SIDE else DropReason.CANCELLED
        outcome = Outcome(turn.turn_id, self._clock(), drop_reason=reason)
        try:
            await self._keep(visit, turn, link, [turn, link, outcome])
        except LogError as error:
            logger.error("cancelled turn %s is not in the log: %s", turn.turn_id, error)

    async def close_session(self, scope: str, session_id: str) -> None:
        """Nothing more will come: tell the judges about the turns nobody reacted to.

        Raises:
            LogError: the session is still open.
        """
        await self._close(self.sessions.open_turns(SessionRef(scope, session_id)))

    async def close_idle(self) -> None:
        """Close the sessions that nobody has visited for `session_idle_s`."""
        await self._close_quietly(self.sessions.idle(self._clock(), self._session_idle_s))

    async def run_idle_closer(self) -> None:
        """Call `close_idle` and `let_go` now and then, for ever."""
        tick_s = min(self._session_idle_s / _TICKS_PER_IDLE, _LONGEST_TICK_S)
        while True:
            await asyncio.sleep(tick_s)
            await self.close_idle()
            await self.let_go()

    async def let_go(self) -> None:
        """Recognise no conversation by turns that somebody wanted forgotten."""
        try:
            while found := await asyncio.to_thread(self._log.forgotten, after=self._forgotten):
                self._forgotten = found[-1][0]
                gone = {turn_id for _, turn_id in found}
                known = [node for _, nodes in self._tree.sessions() for node in nodes]
                for node in (node for node in known if node.turn_id in gone):
                    self._tree.remove(node)
                    self.sessions.tidy(node.session)
        except LogError as error:
            logger.error("what was forgotten is remembered for now: %s", error)

    def _remember(self, logged: JudgedTurn, link: Link) -> None:
        turn, states = logged.turn, logged.next_states
        if turn.finish_reason is FinishReason.CANCELLED:
            return
        node = self._linker.add(turn, link).node
        for state in states:
            node.is_closed = node.is_closed or state.kind is NextStateKind.SESSION_CLOSED
            if state.kind in _ANSWERS:
                node.answer = answer_of(state.messages)
        self.sessions.touch(node.session, turn.finished_at)

    async def _close_lost(self, turn_ids: Sequence[str]) -> None:
        """Close turns that are in the log only; where that fails, the next process does."""
        if not turn_ids:
            return
        now = self._clock()
        closed = [NextState(turn_id, NextStateKind.SESSION_CLOSED, now) for turn_id in turn_ids]
        try:
            await _finish(self._log.append, *closed)
        except LogError as error:
            logger.error("%d turns stay open until the next start: %s", len(turn_ids), error)
            return
        self._on_linked()

    async def _drop_superseded(self, nodes: Sequence[Node]) -> None:
        """A retry takes the place of replies that did not arrive.

        Raises:
            LogError: they may still be dropped by another retry.
        """
        if not nodes:
            return
        now = self._clock()
        for node in nodes:
            node.is_closed = True
        ended = [Outcome(node.turn_id, now, drop_reason=DropReason.RETRIED) for node in nodes]
        try:
            await _finish(self._log.append, *ended)
        except LogError:
            for node in nodes:
                node.is_closed = False
            raise

    async def _report_shape(self, shape: str) -> None:
        logger.info("a request that no rule of linking explains: %s", shape)
        try:
            await _finish(self._log.count, _UNKNOWN_SHAPES)
        except LogError as error:
            logger.error("an unknown shape is not counted: %s", error)

    async def _keep(
        self, visit: Visit, turn: Turn, link: Link, records: Sequence[Turn | Link | Outcome]
    ) -> None:
        """Recognise a turn from now on, and commit it; what had to make room is closed in any case.

        Raises:
            LogError: neither.
        """
        assert visit.placement is not None
        forgotten = self._linker.add(turn, link, visit.placement.reading).forgotten
        self.sessions.touch(visit.session, self._clock())
        try:
            await _finish(self._log.append, *records)
        except Exception:
            self._forget(turn.turn_id, visit.session)
            raise
        finally:
            for node in forgotten:
                self.sessions.tidy(node.session)
            await self._close_quietly([node for node in forgotten if node.is_open])

    def _forget(self, turn_id: str, session: SessionRef) -> None:
        """What is not in the log must not be linked to."""
        for node in [n for n in self._tree.session(session) if n.turn_id == turn_id]:
            self._tree.remove(node)

    async def _close_quietly(self, turns: Sequence[Node]) -> None:
        """Close turns where no request is there to be told of a failure."""
        try:
            await self._close(turns)
        except LogError as error:
            logger.error("%d turns stay open for now: %s", len(turns), error)

    async def _close(self, turns: Sequence[Node]) -> None:
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
        found = (self._log.get(turn_id) for turn_id in turn_ids)
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
