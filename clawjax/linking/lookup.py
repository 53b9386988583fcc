"""What a history is recognised by: replies of ours in it, from the newest to the oldest.

Each function is one pass over the history and a lookup in the tree per assistant's message.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from clawjax.linking.canonical import Entry, pair_digest, reply_digest
from clawjax.linking.decorations import is_placeholder
from clawjax.linking.reading import Reading
from clawjax.linking.tree import Node, Tree

__all__ = ["Found", "anchor_of", "continued_by", "is_edited", "repeated_by"]

_TELLING_PAIR = 48
"""Characters of a reply and the message before it by which a rewritten history is recognised where
the session has no name. What people say all the time (`thanks`, `You're welcome!`) has fewer."""
_TELLING_REPLY = 16
"""The same for a reply alone: the summary before it says that the history was rewritten."""
_WORD = re.compile(r"\w+")
_SHARED_WORDS = 0.5
"""Part of its words that an edited reply has kept."""


class Found(NamedTuple):
    """A turn, and where in a request's messages its reply is, or what took its place."""

    node: Node
    at: int
    entry: Entry

    @property
    def end(self) -> int:
        """Where the last message of its reply is: some clients send calls as one of their own."""
        return self.entry.end


def continued_by(tree: Tree, reading: Reading) -> tuple[Found | None, Found | None]:
    """The newest reply of ours that came back, and a newer one that something else stands for."""
    departed: Found | None = None
    for depth in range(len(reading.entries) - 1, -1, -1):
        entry = reading.entries[depth]
        if entry.role != "assistant":
            continue
        known = _fitting(tree.by_prompt(reading.chain[depth]), reading)
        same = [node for node in known if _is_reply_of(node, entry)]
        same = same or _fitting(tree.by_whole(reading.chain[depth + 1]), reading)
        if same and depth < len(reading.entries) - 1:
            return Found(_best(same, reading), entry.position, entry), departed
        if known and not same and departed is None:
            found = Found(_best(known, reading), entry.position, entry)
            departed = found if _has_departed(found, reading) else None
    return None, departed


def repeated_by(tree: Tree, reading: Reading) -> Found | None:
    """The newest turn that answered this very history, or whose reply the history ends with."""
    last = reading.last
    if last is None:
        return None
    known = _fitting(tree.by_prompt(reading.chain[-1]), reading)
    if last.role == "assistant":
        before = _fitting(tree.by_prompt(reading.chain[-2]), reading)
        known += [node for node in before if _is_reply_of(node, last)]
    if not any(entry.role == "assistant" for entry in reading.entries):
        # First questions are often alike; with the same instructions they are the same program's.
        known = [node for node in known if node.profile.system == reading.profile.system]
    if not known:
        return None
    return Found(max(known, key=lambda node: node.order), last.position, last)


def anchor_of(tree: Tree, reading: Reading, *, oldest: float) -> Found | None:
    """The newest reply of ours in a history whose beginning was rewritten.

    Recognised with the message before it; the first one behind a summary, which may have replaced
    that message or a part of it, by itself. Without a session's name a match has to be long, and of
    one session only.

    Args:
        tree: the turns.
        reading: the request.
        oldest: unix seconds; turns that arrived before are not recognised.
    """
    replies = [n for n, entry in enumerate(reading.entries) if entry.role == "assistant"]
    for depth in reversed([n for n in replies if 0 < n < len(reading.entries) - 1]):
        entry, before = reading.entries[depth], reading.entries[depth - 1]
        is_telling = before.characters + entry.characters >= _TELLING_PAIR
        looked_for = [(pair_digest(reading.start, before, entry), is_telling)]
        if reading.has_summary and depth == replies[0]:
            is_telling = entry.characters >= _TELLING_REPLY
            looked_for.append((reply_digest(reading.start, entry), is_telling))
        for digest, is_telling in looked_for:
            known = _fitting(tree.by_anchor(digest), reading)
            young = [node for node in known if node.arrived_at >= oldest]
            if (node := _only(young, reading, is_telling=is_telling)) is not None:
                return Found(node, entry.position, entry)
    return None


def is_edited(departed: Found) -> bool:
    """Whether what stands for a reply is that reply, changed by somebody."""
    if not departed.node.is_complete or departed.entry.calls or departed.node.reply.calls:
        return False
    ours, theirs = (
        _WORD.findall(entry.text.lower()) for entry in (departed.node.reply, departed.entry)
    )
    shared = (Counter(ours) & Counter(theirs)).total()
    return shared >= _SHARED_WORDS * max(len(ours), len(theirs), 1)


def _fitting(nodes: Sequence[Node], reading: Reading) -> list[Node]:
    """Those that nothing the client says of its session speaks against."""
    return [node for node in nodes if _fits(node, reading)]


def _fits(node: Node, reading: Reading) -> bool:
    origin = reading.origin
    if origin.key is None:
        return True
    if origin.is_key_explicit:
        return origin.key in (node.key, node.session.session_id)
    return node.key is None or node.key == origin.key


def _is_named(node: Node, reading: Reading) -> bool:
    return node.key is not None and node.key == reading.origin.key


def _is_reply_of(node: Node, returned: Entry) -> bool:
    """Whether an assistant's message is a turn's reply, as its client would send it back."""
    ours = node.reply
    if not node.is_complete:
        return bool(returned.text) and ours.text.startswith(returned.text)
    if ours.calls != returned.calls:
        return False
    return ours.text == returned.text or (returned.has_calls_in_text and not returned.text)


def _has_departed(found: Found, reading: Reading) -> bool:
    """Whether another message in a reply's place is more than a coincidence.

    It is where the session is named, where a reply came before, where the client writes that it has
    none, and where the reply was edited; a first question alone may be anybody's.
    """
    history = (entry for entry in reading.entries if entry.position < found.at)
    return (
        _is_named(found.node, reading)
        or any(entry.role == "assistant" for entry in history)
        or (not found.entry.calls and is_placeholder(found.entry.text))
        or is_edited(found)
    )


def _best(nodes: Sequence[Node], reading: Reading) -> Node:
    """Of turns that look the same: of the same name and instructions, unanswered, the newest."""
    return max(
        nodes,
        key=lambda node: (
            node.is_complete,
            _is_named(node, reading),
            node.profile.system == reading.profile.system,
            not node.is_answered,
            node.order,
        ),
    )


def _only(nodes: Sequence[Node], reading: Reading, *, is_telling: bool) -> Node | None:
    """The turn meant by an anchor; None where that would be a guess."""
    named = [node for node in nodes if _is_named(node, reading)]
    if named:
        return _best(named, reading)
    is_certain = is_telling and len({node.session for node in nodes}) == 1
    return _best(nodes, reading) if is_certain else None
