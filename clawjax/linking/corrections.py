"""Replies that somebody edited: what was said, and what should have been said instead.

Kept as they are in the log, a preference between two replies to the same history. The edited turn
has no next state: nothing was said about it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from clawjax.linking.linker import EDITED
from clawjax.records import Link, LinkKind, Message, Turn

__all__ = ["Correction", "corrections"]


class Correction(NamedTuple):
    """A preference of `preferred` over `rejected`, the reply of a turn."""

    turn_id: str
    rejected: Message
    preferred: Message


def corrections(placed: Iterable[tuple[Turn, Link]]) -> Iterator[Correction]:
    """Every turn whose reply was edited, once, with the first edit.

    Args:
        placed: turns in order of logging, and how they were placed.
    """
    replies: dict[str, Message] = {}
    for turn, link in placed:
        is_edit = link.kind is LinkKind.BRANCH and link.reason == EDITED
        if is_edit and link.of_turn_id is not None and link.at is not None:
            rejected = replies.pop(link.of_turn_id, None)
            if rejected is not None:
                yield Correction(link.of_turn_id, rejected, turn.messages[link.at])
        replies[turn.turn_id] = turn.reply
