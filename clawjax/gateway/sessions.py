"""Which turn a request continues: a pure state machine over known turns.

Owns the tree of recent turns, found by the hash chain of their history and reply. Invariants: a
turn is found only within its scope, and within its session where the client names one; the
turn whose history and reply are the longest beginning of the new messages is the parent; memory
is bounded by turns and tokens, the least recently used session being forgotten first.
No clock and no I/O: not thread-safe, to be used from one event loop.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import NamedTuple

from clawjax.gateway.canonical import hash_chain
from clawjax.records import Message, NextStateKind, Turn, TurnKind

__all__ = ["KnownTurn", "Match", "Reaction", "SessionKey", "Sessions", "reaction_of"]

MAX_TURNS = 16_384
MAX_TOKENS = 8_000_000
"""8 bytes each, as the ids of a conversation are shared between its turns."""


class SessionKey(NamedTuple):
    """A session id means nothing outside its scope."""

    scope: str
    session_id: str


@dataclass(slots=True, eq=False)
class KnownTurn:
    """What has to be remembered of a turn to recognise and extend it."""

    turn_id: str
    key: SessionKey
    chain: bytes
    """Key of the history that ends with this turn's reply."""
    kind: TurnKind
    prompt_ids: tuple[int, ...]
    response_ids: tuple[int, ...]
    tools_json: str | None
    order: int
    is_answered: bool = False
    """A user's or tool's reaction has been linked."""
    is_closed: bool = False

    @property
    def is_open(self) -> bool:
        """Still waiting for whatever comes next."""
        return self.kind is TurnKind.MAIN and not self.is_answered and not self.is_closed


class Match(NamedTuple):
    """Where a request belongs."""

    key: SessionKey | None
    """None: a new session has to be opened."""
    parent: KnownTurn | None
    reply_index: int | None
    """Position of the parent's reply in the new messages."""


class Reaction(NamedTuple):
    """What came after a turn's reply, up to the next reply."""

    turn: KnownTurn
    kind: NextStateKind
    messages: tuple[Message, ...]


@dataclass(slots=True)
class _Session:
    turns: list[KnownTurn] = field(default_factory=list)
    last_active: float = 0.0
    in_flight: int = 0


class Sessions:
    """All known sessions, least recently used first."""

    def __init__(self, *, max_turns: int = MAX_TURNS, max_tokens: int = MAX_TOKENS) -> None:
        self._sessions: OrderedDict[SessionKey, _Session] = OrderedDict()
        self._by_chain: dict[bytes, list[KnownTurn]] = {}
        self._max_turns = max_turns
        self._max_tokens = max_tokens
        self._turns = 0
        self._tokens = 0
        self._next_order = 0

    def __len__(self) -> int:
        return len(self._sessions)

    def find(self, scope: str, session_id: str | None, messages: Sequence[Message]) -> Match:
        """The longest known turn that the messages continue; ties go to the newest unanswered."""
        wanted = None if session_id is None else SessionKey(scope, session_id)
        chain = hash_chain(scope, messages)
        for index in range(len(messages) - 2, -1, -1):
            if messages[index].role != "assistant":
                continue
            known = [
                turn
                for turn in self._by_chain.get(chain[index], ())
                if wanted is None or turn.key == wanted
            ]
            if known:
                parent = max(known, key=lambda turn: (not turn.is_answered, turn.order))
                return Match(parent.key, parent, index)
        return Match(wanted, None, None)

    def enter(self, key: SessionKey, now: float) -> None:
        """A request of this session has begun; the session is not idle until `leave`."""
        session = self._sessions.setdefault(key, _Session())
        session.in_flight += 1
        self._touch(key, now)

    def leave(self, key: SessionKey, now: float) -> None:
        """A request of this session has ended."""
        session = self._sessions[key]
        session.in_flight -= 1
        self._touch(key, now)
        if not session.turns and not session.in_flight:
            del self._sessions[key]

    def add(self, turn: Turn, now: float) -> list[KnownTurn]:
        """Remember a finished turn; returns the open turns forgotten to make room."""
        key = SessionKey(turn.scope, turn.session_id)
        known = KnownTurn(
            turn_id=turn.turn_id,
            key=key,
            chain=hash_chain(turn.scope, (*turn.messages, turn.reply))[-1],
            kind=turn.kind,
            prompt_ids=turn.prompt_ids,
            response_ids=turn.response_ids,
            tools_json=turn.tools_json,
            order=self._next_order,
        )
        self._next_order += 1
        self._sessions.setdefault(key, _Session()).turns.append(known)
        self._by_chain.setdefault(known.chain, []).append(known)
        self._turns += 1
        self._tokens += _size(known)
        self._touch(key, now)
        return [turn for turn in self._make_room() if turn.is_open]

    def remove(self, turn_id: str, key: SessionKey) -> None:
        """Forget a turn that could not be logged."""
        session = self._sessions.get(key)
        for known in [turn for turn in session.turns if turn.turn_id == turn_id] if session else ():
            self._forget(known)

    def open_turns(self, key: SessionKey) -> list[KnownTurn]:
        """The turns of a session that nothing has come after."""
        session = self._sessions.get(key)
        return [turn for turn in session.turns if turn.is_open] if session else []

    def idle(self, before: float) -> list[KnownTurn]:
        """Open turns of the sessions without a request since `before`."""
        return [
            turn
            for session in self._sessions.values()
            if session.last_active <= before and not session.in_flight
            for turn in session.turns
            if turn.is_open
        ]

    def _touch(self, key: SessionKey, now: float) -> None:
        self._sessions[key].last_active = max(now, self._sessions[key].last_active)
        self._sessions.move_to_end(key)

    def _make_room(self) -> Iterator[KnownTurn]:
        """Forget the oldest turns of the least recently used sessions."""
        while self._turns > 1 and (
            self._turns > self._max_turns or self._tokens > self._max_tokens
        ):
            known = next(s.turns[0] for s in self._sessions.values() if s.turns)
            self._forget(known)
            yield known

    def _forget(self, known: KnownTurn) -> None:
        session = self._sessions[known.key]
        session.turns.remove(known)
        if not session.turns and not session.in_flight:
            del self._sessions[known.key]
        same_chain = self._by_chain[known.chain]
        same_chain.remove(known)
        if not same_chain:
            del self._by_chain[known.chain]
        self._turns -= 1
        self._tokens -= _size(known)


def reaction_of(match: Match, messages: Sequence[Message]) -> Reaction | None:
    """What a request says about its parent's reply; None where it says nothing new."""
    parent, index = match.parent, match.reply_index
    if parent is None or index is None or parent.is_answered or parent.kind is TurnKind.SIDE:
        return None
    after = tuple(takewhile(lambda message: message.role != "assistant", messages[index + 1 :]))
    roles = {message.role for message in after}
    if "user" in roles:
        return Reaction(parent, NextStateKind.USER, after)
    return Reaction(parent, NextStateKind.TOOL, after) if "tool" in roles else None


def _size(known: KnownTurn) -> int:
    return len(known.prompt_ids) + len(known.response_ids)
