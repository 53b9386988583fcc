"""What a user has praised, kept as examples for the teacher.

Whoever has seen what somebody likes can tell how another reply should have been. Owns the
memory of praised exchanges, by user. Invariants: a turn is never an example for itself; which
examples a turn gets depends on the turn and on what was praised before, on nothing else.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from clawjax.records import Message, Turn

__all__ = ["Demonstrations"]

_RECENT = 16
"""Examples come from the newest so many praised exchanges of a user: tastes change, and so does
what the policy can do."""
_LONGEST = 192
"""Longer replies, in tokens, are no examples: each is read again with every turn it teaches."""


class _Praised(NamedTuple):
    turn_id: str
    question: Message
    reply: Message


class Demonstrations:
    """The newest praised exchanges of each user (`Turn.scope`)."""

    def __init__(self) -> None:
        """Remember nobody yet."""
        self._by_user: dict[str, deque[_Praised]] = {}

    def remember(self, praised: Iterable[Turn]) -> None:
        """Keep praised turns, oldest first; a turn that is known already is not kept twice."""
        for turn in praised:
            question = _question(turn)
            known = self._by_user.setdefault(turn.scope, deque(maxlen=_RECENT))
            is_new = all(turn.turn_id != praised.turn_id for praised in known)
            if question is not None and is_new and len(turn.response_ids) <= _LONGEST:
                known.append(_Praised(turn.turn_id, question, turn.reply))

    def choose(self, turn: Turn, count: int) -> tuple[Message, ...]:
        """At most `count` other exchanges of the same user as messages; empty if there are none."""
        others = [
            praised
            for praised in self._by_user.get(turn.scope, ())
            if praised.turn_id != turn.turn_id
        ]
        chosen = random.Random(turn.turn_id).sample(others, min(count, len(others)))
        return tuple(message for praised in chosen for message in praised[1:])


def _question(turn: Turn) -> Message | None:
    """The user's message that was answered; None where something else was, e.g. a tool."""
    last = turn.messages[-1] if turn.messages else None
    is_plain = last is not None and last.role == "user" and not turn.reply.tool_calls
    return last if is_plain else None
