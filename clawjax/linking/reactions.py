"""What a request says about the reply that it goes on from: the turn's next state."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from clawjax.linking.canonical import exact_digest
from clawjax.linking.decorations import is_notice, is_placeholder, undecorated
from clawjax.linking.lookup import Found
from clawjax.linking.tree import Answer, Node
from clawjax.records import Message, NextStateKind, TurnKind

__all__ = ["Reaction", "answer_of", "messages_after", "reaction_to", "still_new"]


class Reaction(NamedTuple):
    """What came after a turn's reply, up to the next reply."""

    node: Node
    kind: NextStateKind
    messages: tuple[Message, ...]
    earlier: Answer | None = None
    """What had come after it before, which these messages begin with."""

    @property
    def answer(self) -> Answer:
        """What is remembered of it."""
        return answer_of(self.messages)


def answer_of(messages: Sequence[Message]) -> Answer:
    """What is remembered of what came after a turn."""
    return Answer(len(messages), exact_digest(messages))


def reaction_to(
    parent: Found | None, messages: Sequence[Message], *, has_reply: bool
) -> Reaction | None:
    """The next state of the turn that a main request goes on from; None where it says nothing new.

    A turn is answered again where what answered it is gone on with: while nobody has got a reply,
    as people write in several messages, and always by a tool's result, which speaks of a call.

    Args:
        parent: that turn, and where its reply is.
        messages: all of the request's.
        has_reply: whether there has been a whole reply to what came after that turn before.
    """
    if parent is None or not _can_be_answered(parent.node):
        return None
    after = tuple(messages_after(messages[parent.end + 1 :]))
    earlier = parent.node.answer
    if earlier is not None and not _goes_on(after, earlier, has_reply=has_reply):
        return None
    roles = {message.role for message in after}
    if "user" in roles:
        return Reaction(parent.node, NextStateKind.USER, after, earlier)
    return Reaction(parent.node, NextStateKind.TOOL, after, earlier) if "tool" in roles else None


def still_new(reaction: Reaction) -> Reaction | None:
    """The reaction as of now, where its turn may have been answered since its request arrived.

    None where that answer says all of it, or something else. Nobody's reply to it can be what these
    messages are about: they were written before it.
    """
    earlier = reaction.node.answer
    if earlier is None or earlier == reaction.earlier:
        return reaction._replace(earlier=earlier)
    is_more = _goes_on(reaction.messages, earlier, has_reply=False)
    return reaction._replace(earlier=earlier) if is_more else None


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
    return node.kind is TurnKind.MAIN and node.is_complete


def _goes_on(after: Sequence[Message], earlier: Answer, *, has_reply: bool) -> bool:
    """Whether messages begin with what is known already, and more follows that is about the turn.

    Words that follow an exchange which their client has dropped since may be about its reply, and
    so are a client's own about one that was cut.
    """
    known, new = after[: earlier.length], after[earlier.length :]
    if not new or answer_of(known) != earlier:
        return False
    is_about_another = has_reply or any(is_notice(message.content) for message in new)
    return new[0].role == "tool" or not is_about_another
