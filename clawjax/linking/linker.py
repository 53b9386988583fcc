"""Which turn a request continues, decided when it arrives: the rules, in their order.

Records in, decisions with reasons out: `place` only reads the tree of turns, which changes by
`add` and by what callers note on its nodes. The rules, and the clients that they come from, are
described in docs/clients.md.
"""

from __future__ import annotations

import sys
from array import array
from dataclasses import dataclass, replace
from typing import NamedTuple

from clawjax.config import LinkingConfig
from clawjax.linking.canonical import canonical_reply, exact_digest, hash_chain, pair_digest
from clawjax.linking.decorations import is_placeholder
from clawjax.linking.lookup import Found, anchor_of, continued_by, is_edited, repeated_by
from clawjax.linking.profiles import shape_of
from clawjax.linking.reactions import Reaction, messages_after, reaction_to
from clawjax.linking.reading import Asked, Reading, asked_for, prefill_of, read
from clawjax.linking.sides import Judged, SideRules
from clawjax.linking.tree import Joined, KeyState, Node, SessionRef, Tree
from clawjax.records import FinishReason, Link, LinkKind, Turn, TurnKind

__all__ = ["EDITED", "Added", "LinkDecision", "Linker", "note"]

EDITED = "the reply was edited"
"""The reason of a branch that is a correction: both replies answer the same history."""


@dataclass(frozen=True, slots=True)
class LinkDecision:
    """Where a request belongs, and why."""

    session: SessionRef | None
    """None: a new session has to be opened."""
    kind: LinkKind
    reason: str
    judged: Judged
    parent: Found | None
    """The turn whose reply is the last one of ours in the history."""
    of: Found | None
    """The turn that is repeated, or departed from."""
    retried: tuple[Node, ...]
    """All turns of the request that is sent again for want of a reply."""
    reaction: Reaction | None
    """What the request says about its parent's reply."""
    passed: tuple[Node, ...]
    """Other replies to what its parent answers: this one was chosen."""
    shape: str | None
    """An outline of the request, where the rules have nothing to say about it."""
    reading: Reading

    @property
    def superseded(self) -> tuple[Node, ...]:
        """The turns whose replies were finished, but did not arrive."""
        return tuple(node for node in self.retried if node.is_open)

    def link(self, turn_id: str) -> Link:
        """The record of this decision, for one of the request's turns."""
        at = self.of if self.kind is LinkKind.BRANCH else self.parent
        return Link(
            turn_id=turn_id,
            kind=self.kind,
            reason=self.reason,
            turn_kind_reason=self.judged.reason,
            origin=self.reading.origin,
            of_turn_id=None if self.of is None else self.of.node.turn_id,
            at=None if at is None else at.at,
        )


class Added(NamedTuple):
    """A turn that is remembered, and those forgotten to make room."""

    node: Node
    forgotten: list[Node]


class Linker:
    """Decides by a tree of turns and the rules for side requests."""

    def __init__(
        self,
        tree: Tree,
        config: LinkingConfig,
        *,
        default_kind: TurnKind = TurnKind.MAIN,
    ) -> None:
        """Decide over `tree`, which belongs to the caller as well."""
        self._tree = tree
        self._sides = SideRules(config, default_kind)
        self._anchor_age_s = config.anchor_age_s

    def place(self, asked: Asked) -> LinkDecision:
        """Where a request belongs. Linear in the length of its history."""
        reading = read(asked)
        key = self._tree.by_key(reading.start, reading.origin.key)
        parent, departed = continued_by(self._tree, reading)
        repeated = repeated_by(self._tree, reading)
        kind, reason = _relation(reading, parent, departed, repeated)
        if parent is None and departed is None:
            oldest = asked.arrived_at - self._anchor_age_s
            parent = anchor_of(self._tree, reading, oldest=oldest)
        judged = self._judge(asked, reading, parent, repeated, kind, key)
        if kind is LinkKind.NEW:
            kind, reason = _rupture(reading, parent, key, judged)
        of = departed if kind is LinkKind.BRANCH else repeated
        is_main = judged.kind is TurnKind.MAIN
        has_reply = parent is not None and self._tree.has_reply_to(parent.node)
        return LinkDecision(
            session=_session(asked.scope, reading, kind, parent, of, key),
            kind=kind,
            reason=reason,
            judged=judged,
            parent=parent,
            of=of,
            retried=self._tree.choices(of.node) if of and kind is LinkKind.RETRY else (),
            reaction=(
                reaction_to(parent, asked.messages, has_reply=has_reply) if is_main else None
            ),
            passed=() if parent is None else self._tree.siblings(parent.node),
            shape=_unknown_shape(reading, asked, kind, judged, key),
            reading=reading,
        )

    def add(self, turn: Turn, link: Link, reading: Reading | None = None) -> Added:
        """Remember a turn.

        Args:
            turn: finished, or cut with something sampled.
            link: how its request was placed.
            reading: of that request; made again where there is none.
        """
        reading = reading or read(asked_for(turn, link))
        reply = canonical_reply(turn.reply)
        node = Node(
            turn_id=turn.turn_id,
            response_id=turn.response_id,
            session=SessionRef(turn.scope, turn.session_id),
            start=reading.start,
            key=reading.origin.key,
            parent=turn.parent_turn_id,
            kind=turn.kind,
            prompt=reading.chain[-1],
            whole=hash_chain(reading.chain[-1], (reply,))[-1],
            pair=pair_digest(reading.start, reading.last, reply),
            reply=reply,
            profile=reading.profile,
            exact=exact_digest(turn.messages),
            prompt_ids=array("i", turn.prompt_ids),
            response_ids=array("i", turn.response_ids),
            tools_json=None if turn.tools_json is None else sys.intern(turn.tools_json),
            arrived_at=turn.arrived_at,
            order=self._tree.next_order(),
            is_complete=turn.finish_reason is not FinishReason.CANCELLED,
            joined=_joined(turn, reading),
        )
        return Added(node, self._tree.add(node, reading.origin.compactions))

    def _judge(
        self,
        asked: Asked,
        reading: Reading,
        parent: Found | None,
        repeated: Found | None,
        kind: LinkKind,
        key: KeyState | None,
    ) -> Judged:
        """Main or side; a request that is sent again stays what it was."""
        main = None if key is None else key.main
        if reading.origin.said_kind is None:
            if kind is LinkKind.RETRY and repeated is not None:
                return Judged(repeated.node.kind, "as the request that it repeats")
            if parent is not None and parent.node.kind is TurnKind.SIDE:
                after = messages_after(asked.messages[parent.end + 1 :])
                if {message.role for message in after} == {"tool"}:
                    return Judged(TurnKind.SIDE, "a tool's result for a side request")
        if parent is not None and parent.node.kind is TurnKind.MAIN:
            main = parent.node.profile
        return self._sides.judge(reading.origin, asked.messages, reading.profile, main)


def _joined(turn: Turn, reading: Reading) -> Joined | None:
    """A reply in one with the text that it goes on from; None where there is no such text."""
    begun = prefill_of(turn.messages)
    if begun is None:
        return None
    before = reading.entries[-2] if len(reading.entries) > 1 else None
    reply = canonical_reply(replace(turn.reply, content=begun + turn.reply.content))
    return Joined(
        whole=hash_chain(reading.chain[-2], (reply,))[-1],
        pair=pair_digest(reading.start, before, reply),
        reply=reply,
        exact=exact_digest(turn.messages[:-1]),
    )


def note(placement: LinkDecision) -> None:
    """Keep on the tree what a request says about the turns before it."""
    if placement.reaction is not None:
        placement.reaction.node.answer = placement.reaction.answer
        for node in placement.passed:
            node.is_closed = True
    for node in placement.superseded:
        node.is_closed = True
    if placement.kind is LinkKind.RESAMPLE and placement.of is not None:
        placement.of.node.has_arrived = True


def _relation(
    reading: Reading, parent: Found | None, departed: Found | None, repeated: Found | None
) -> tuple[LinkKind, str]:
    """How a request relates to the turns whose history it shares, and why."""
    if repeated is not None:
        return _repetition(repeated.node, reading.origin.retries)
    if departed is not None:
        return LinkKind.BRANCH, _departure(departed)
    if parent is None:
        return LinkKind.NEW, "no reply of ours is in its history"
    if not parent.node.is_complete:
        return LinkKind.EXTEND, "goes on from a reply that was cut"
    if parent.node.is_answered:
        return LinkKind.EXTEND, "a reply came back that had come back before"
    return LinkKind.EXTEND, "the reply came back"


def _repetition(node: Node, retries: int) -> tuple[LinkKind, str]:
    """A retry is for a reply that did not arrive; what was answered, closed or side is no loss."""
    if not node.is_complete:
        return LinkKind.RETRY, "the same history again, after a reply that was cut"
    if node.is_open and not node.has_arrived:
        if retries:
            return LinkKind.RETRY, "the same history again, as a retry of the client"
        if not node.is_delivered:
            return LinkKind.RETRY, "the same history again, after a reply that did not arrive"
    return LinkKind.RESAMPLE, "the same history again, after a reply that arrived"


def _departure(departed: Found) -> str:
    entry = departed.entry
    if not entry.calls and is_placeholder(entry.text):
        return "the client has no reply in this place"
    return EDITED if is_edited(departed) else "another reply stands in this place"


def _rupture(
    reading: Reading, anchor: Found | None, key: KeyState | None, judged: Judged
) -> tuple[LinkKind, str]:
    """How a request relates to turns that share no beginning with it, and why."""
    if anchor is not None:
        return LinkKind.COMPACTED, "a reply came back in a history that was rewritten before it"
    if key is None or key.main is None or judged.kind is TurnKind.SIDE:
        return LinkKind.NEW, "no reply of ours is in its history"
    if reading.has_summary or (reading.origin.compactions or 0) > (key.compactions or 0):
        return LinkKind.COMPACTED, "a named session goes on behind a summary"
    return LinkKind.RESET, "a named session begins anew"


def _session(
    scope: str,
    reading: Reading,
    kind: LinkKind,
    parent: Found | None,
    of: Found | None,
    key: KeyState | None,
) -> SessionRef | None:
    """The session of a request; None where it opens one.

    Who names a session for clawjax owns the name. Clients' own names outlive a conversation.
    """
    origin = reading.origin
    if origin.key is not None and origin.is_key_explicit:
        return SessionRef(scope, origin.key)
    if parent is not None:
        return parent.node.session
    if of is not None and kind is not LinkKind.RESAMPLE:
        return of.node.session
    if key is not None:
        return None if kind is LinkKind.RESET else key.session
    return None if origin.key is None else SessionRef(scope, origin.key)


def _unknown_shape(
    reading: Reading, asked: Asked, kind: LinkKind, judged: Judged, key: KeyState | None
) -> str | None:
    """An outline of a main request that no rule explains."""
    if judged.kind is TurnKind.SIDE or reading.origin.said_kind is not None:
        return None
    has_foreign_replies = kind is LinkKind.NEW and any(
        entry.role == "assistant" and not is_placeholder(entry.text) for entry in reading.entries
    )
    if not has_foreign_replies and kind is not LinkKind.RESET:
        return None
    return shape_of(
        reading.origin, asked.messages, reading.profile, None if key is None else key.main
    )
