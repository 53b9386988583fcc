"""Praised exchanges as examples for the teacher.

Whoever has seen what somebody likes can tell how another reply should have been. Invariants: a turn
is never an example for itself; which examples a turn gets depends on the turn and on what was
praised before, on nothing else.
"""

from __future__ import annotations

import random

from clawjax.learner.praise import RECENT, Praise, Praised
from clawjax.records import Message, Turn

__all__ = ["demonstrations"]

_LONGEST = 192
"""Longer replies, in tokens, are no examples: each is read again with every turn it teaches."""


def demonstrations(
    praise: Praise, turn: Turn, count: int, *, above: float = 0.0
) -> tuple[Message, ...]:
    """At most `count` other exchanges of the same user as messages; empty if there are none.

    Args:
        praise: what is known of the user.
        turn: for which; of the newest fit ones it has its own choice.
        count: exchanges, of two messages each.
        above: scores up to here are too doubtful.
    """
    fit = [
        praised for praised in praise.of(turn.scope) if praised.score > above and _is_fit(praised)
    ]
    others = [praised for praised in fit[-RECENT:] if praised.turn.turn_id != turn.turn_id]
    chosen = random.Random(turn.turn_id).sample(others, min(count, len(others)))
    return tuple(message for one in chosen for message in (one.turn.messages[-1], one.turn.reply))


def _is_fit(praised: Praised) -> bool:
    """Whether it is a short answer to a person, not to a tool."""
    turn = praised.turn
    is_answer = bool(turn.messages) and turn.messages[-1].role == "user"
    return is_answer and not turn.reply.tool_calls and len(turn.response_ids) <= _LONGEST
