"""Earlier exchanges as examples for the teacher.

Whoever has seen what somebody likes can tell how another reply should have been. Invariants: a turn
is never an example for itself; which examples a turn gets depends on the turn and on what was said
before, on nothing else.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from clawjax.learner.replay_buffer import RECENT, ScoredTurn
from clawjax.records import Message, Turn

__all__ = ["demonstrations"]

_LONGEST = 192
"""Longer replies, in tokens, are no examples: each is read again with every turn it teaches."""


def demonstrations(known: Sequence[ScoredTurn], turn: Turn, count: int) -> tuple[Message, ...]:
    """At most `count` exchanges as messages, a question and a reply each; empty if none is fit.

    Args:
        known: of the same user, oldest first; of the newest fit ones `turn` has its own choice.
        turn: for which.
        count: exchanges.
    """
    fit = [one.turn for one in known if _is_fit(one.turn)][-RECENT:]
    others = [other for other in fit if other.turn_id != turn.turn_id]
    chosen = random.Random(turn.turn_id).sample(others, min(count, len(others)))
    return tuple(message for one in chosen for message in (one.messages[-1], one.reply))


def _is_fit(turn: Turn) -> bool:
    """Whether it is a short answer to a person, not to a tool."""
    is_answer = bool(turn.messages) and turn.messages[-1].role == "user"
    return is_answer and not turn.reply.tool_calls and len(turn.response_ids) <= _LONGEST
