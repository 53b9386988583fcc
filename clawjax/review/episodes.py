"""Where the episodes of a conversation begin, and which turns go on with them. Pure.

One begins with a message of the user and goes on while tools answer.
"""

from __future__ import annotations

from collections.abc import Sequence

from clawjax.records import Message, NextState, Turn

__all__ = ["begin_of", "has_results", "is_continued"]


def is_continued(turn: Turn) -> bool:
    """Whether a turn goes on with an episode: tools have answered since the reply before it."""
    return bool(turn.messages) and turn.messages[-1].role == "tool"


def has_results(next_state: NextState) -> bool:
    """Whether tools have answered, be it with words of the user behind their results."""
    return any(message.role == "tool" for message in next_state.messages)


def begin_of(messages: Sequence[Message]) -> int:
    """The place behind the message of the user that began the newest episode; 0 where none did."""
    return max((i for i, message in enumerate(messages) if message.role == "user"), default=-1) + 1
