"""The turns that can still be continued, found by what their requests and replies say.

Owns the nodes and their indexes. Invariants: a node is found only under the digest of its scope,
so nothing links across credentials or clients; every lookup is a step in a dictionary; memory is
bounded by turns and tokens, the least recently used session being forgotten first.
Not thread-safe, to be used from one event loop.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import NamedTuple

from clawjax.linking.canonical import Entry, reply_digest
from clawjax.linking.sides import Profile
from clawjax.records import TurnKind

__all__ = ["Answer", "Joined", "KeyState", "Node", "SessionRef", "Tree"]

MAX_TURNS = 16_384
MAX_TOKENS = 8_000_000
"""4 bytes each."""

_MOST_ALIKE = 64
"""Turns looked at that are found by the same thing, so that a question asked for the thousandth
time is placed as fast as the first."""
_WHOLE = b"whole"
"""Tells a history that ends with a turn's reply from one that a turn answered."""


class SessionRef(NamedTuple):
    """A session id means nothing outside its credential."""

    scope: str
    session_id: str


class Answer(NamedTuple):
    """What came after a turn, as far as it is known."""

    length: int
    """In messages."""
    digest: bytes


class Joined(NamedTuple):
    """What a turn is recognised by whose client keeps what it had begun and the reply as one."""

    whole: bytes
    """Key of the history before that text, and of the one message."""
    pair: bytes
    reply: Entry
    """The one message."""
    exact: bytes
    """Digest of the messages before it, as they were sent."""


@dataclass(slots=True, eq=False)
class Node:
    """What has to be remembered of a turn to recognise and extend it."""

    turn_id: str
    response_id: str
    """The answer that it is a choice of."""
    session: SessionRef
    start: bytes
    """Digest of credential and client family: where its chain begins."""
    key: str | None
    """The session's name as its client gave it."""
    parent: str | None
    """The turn whose reply its request goes on from."""
    kind: TurnKind
    prompt: bytes
    """Key of the canonical history that was answered."""
    whole: bytes
    """Key of that history and the reply."""
    pair: bytes
    """Key of the last message before the reply, and the reply."""
    reply: Entry
    profile: Profile
    exact: bytes
    """Digest of the messages as they were sent."""
    prompt_ids: array[int]
    response_ids: array[int]
    tools_json: str | None
    arrived_at: float
    order: int
    is_complete: bool
    """False where the reply was cut."""
    is_delivered: bool = True
    """False where the client went away before its end."""
    has_arrived: bool = False
    """Its client has sent the same history again since, and not as a retry."""
    answer: Answer | None = None
    """The reaction of the user or of a tool that was linked last."""
    is_closed: bool = False
    joined: Joined | None = None
    """None where the reply was not begun by the client."""

    @property
    def is_answered(self) -> bool:
        """Whether a reaction of the user or of a tool has been linked."""
        return self.answer is not None

    @property
    def is_open(self) -> bool:
        """Still waiting for whatever comes next."""
        is_waiting = not self.is_answered and not self.is_closed
        return self.kind is TurnKind.MAIN and self.is_complete and is_waiting

    @property
    def weight(self) -> int:
        """In tokens."""
        return len(self.prompt_ids) + len(self.response_ids)


@dataclass(slots=True)
class KeyState:
    """What is known of a session that a client names."""

    session: SessionRef
    """The newest, as a client may keep a name when it begins anew."""
    nodes: int = 0
    main: Profile | None = None
    """Of its newest main turn."""
    compactions: int | None = None


@dataclass(slots=True)
class Tree:
    """All nodes, by session and by what they can be found by."""

    max_turns: int = MAX_TURNS
    max_tokens: int = MAX_TOKENS
    _sessions: OrderedDict[SessionRef, list[Node]] = field(default_factory=OrderedDict)
    _found_by: dict[bytes, list[Node]] = field(default_factory=dict)
    """By prompt, whole, pair and reply, which never share a digest."""
    _keys: dict[tuple[bytes, str], KeyState] = field(default_factory=dict)
    _tokens: int = 0
    _turns: int = 0
    _added: int = 0

    def __len__(self) -> int:
        return self._turns

    def by_prompt(self, prompt: bytes) -> list[Node]:
        """The newest turns that answered this history."""
        return self._newest(prompt)

    def by_whole(self, whole: bytes) -> list[Node]:
        """The newest complete turns whose history and reply are these."""
        return self._newest(_WHOLE + whole)

    def by_anchor(self, digest: bytes) -> list[Node]:
        """The newest complete turns with this pair, or this reply."""
        return self._newest(digest)

    def by_key(self, start: bytes, key: str | None) -> KeyState | None:
        """What is known under a client's name for a session."""
        return None if key is None else self._keys.get((start, key))

    def session(self, session: SessionRef) -> list[Node]:
        """The turns of a session, oldest first."""
        return self._sessions.get(session, [])

    def choices(self, node: Node) -> tuple[Node, ...]:
        """The turns of the request that this one answered, itself among them."""
        return tuple(n for n in self.session(node.session) if n.response_id == node.response_id)

    def siblings(self, node: Node) -> tuple[Node, ...]:
        """The other turns of its session that answered the same history."""
        return tuple(n for n in self.session(node.session) if n.prompt == node.prompt and n != node)

    def has_reply_to(self, node: Node) -> bool:
        """Whether somebody who went on from a turn has got a whole reply to that."""
        return node.is_answered and any(
            n.parent == node.turn_id and n.kind is TurnKind.MAIN and n.is_complete
            for n in self.session(node.session)
            if n.is_delivered
        )

    def sessions(self) -> Iterator[tuple[SessionRef, list[Node]]]:
        """All, the least recently used first."""
        yield from self._sessions.items()

    def touch(self, session: SessionRef) -> None:
        """It has been used."""
        if session in self._sessions:
            self._sessions.move_to_end(session)

    def fitting(self, turns: Sequence[tuple[str, int]]) -> list[str]:
        """Of turns by id and tokens, the first that there is room for, were nothing there yet."""
        totals = accumulate(tokens for _, tokens in turns)
        pairs = list(zip(turns, totals, strict=True))[: self.max_turns]
        return [turn_id for (turn_id, _), total in pairs if total <= self.max_tokens]

    def next_order(self) -> int:
        """Numbers turns in the order in which they ended."""
        self._added += 1
        return self._added

    def add(self, node: Node, compactions: int | None = None) -> list[Node]:
        """Remember a turn; returns the turns forgotten to make room."""
        self._sessions.setdefault(node.session, []).append(node)
        for digest in _digests(node):
            self._found_by.setdefault(digest, []).append(node)
        if node.key is not None:
            key = (node.start, node.key)
            state = self._keys.setdefault(key, KeyState(node.session))
            state.nodes += 1
            if node.kind is TurnKind.MAIN:
                state.session, state.main = node.session, node.profile
                state.compactions = compactions
        self._turns += 1
        self._tokens += node.weight
        self.touch(node.session)
        return list(self._make_room())

    def remove(self, node: Node) -> None:
        """Forget a turn."""
        nodes = self._sessions[node.session]
        nodes.remove(node)
        if not nodes:
            del self._sessions[node.session]
        for digest in _digests(node):
            same = self._found_by[digest]
            same.remove(node)
            if not same:
                del self._found_by[digest]
        if node.key is not None:
            state = self._keys[(node.start, node.key)]
            state.nodes -= 1
            if not state.nodes:
                del self._keys[(node.start, node.key)]
        self._turns -= 1
        self._tokens -= node.weight

    def _newest(self, digest: bytes) -> list[Node]:
        return self._found_by.get(digest, [])[-_MOST_ALIKE:]

    def _make_room(self) -> Iterator[Node]:
        """Forget the oldest turns of the least recently used sessions."""
        while self._turns > 1 and (self._turns > self.max_turns or self._tokens > self.max_tokens):
            node = next(iter(self._sessions.values()))[0]
            self.remove(node)
            yield node


def _digests(node: Node) -> tuple[bytes, ...]:
    """A reply that was cut is found by its prompt only."""
    if not node.is_complete:
        return (node.prompt,)
    digests = [node.prompt]
    for form in (node, node.joined):
        if form is not None:
            digests += [_WHOLE + form.whole, form.pair, reply_digest(node.start, form.reply)]
    return tuple(dict.fromkeys(digests))
