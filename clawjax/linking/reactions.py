"""What a request says about the reply that it goes on from: the turn's next state."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from clawjax.linking.decorations import is_placeholder, undecorated
from clawjax.linking.lookup import Found
from clawjax.linking.tree import Node
from clawjax.records import Message, NextStateKind, TurnKind

__all__ = ["Reaction", "messages_after", "reaction_to"]


class Reaction(NamedTuple):
    """What came after a turn's reply, up to the next reply."""

    node: Node
    kind: NextStateKind
    messages: tuple[Message, ...]


def reaction_to(parent: Found | None, messages: Sequence[Message]) -> Reaction | None:
    """The next state of the turn that a main request goes on from; None where it says nothing new.

    Args:
        parent: that turn, and where its reply is.
        messages: all of the request's.
    """
    if parent is None or not _can_be_answered(parent.node):
        return None
    after = tuple(messages_after(messages[parent.end + 1 :]))
    roles = {message.role for message in after}
    if "user" in roles:
        return Reaction(parent.node, NextStateKind.USER, after)
    return Reaction(parent.node, NextStateKind.TOOL, after) if "tool" in roles else None


def messages_after(messages: Sequence[Message]) -> Iterator[Message]:
    """What users and tools said, without decorations and instructions, up to another's reply.

    Messages that a client writes in an assistant's name, where a reply was lost or not asked for,
    are nobody's reply: what follows them still follows ours.
    """
    for message in messages:
        match message.role:
            case "tool":
                yield message
            case "user":
                text = undecorated(message.content)
                if text.strip():
                    yield message if text == message.content else replace(message, content=text)
            case "assistant":
                if message.tool_calls or not is_placeholder(message.content.strip()):
                    return
            case _:
                pass


def _can_be_answered(node: Node) -> bool:
    """A session that was closed for idleness can go on."""
    return node.kind is TurnKind.MAIN and node.is_complete and not node.is_answered
