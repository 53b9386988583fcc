"""Hints by a language model: what the assistant should have been told before its reply.

Asks an OpenAI-compatible endpoint several times; each answer that stands by a hint is a candidate
(the semantics of OpenClaw-RL's hint judge). Gives no score. Invariant: an answer that failed or
cannot be read is no hint, and what is wrong with it is on the verdict.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

from clawjax.records import NextState, Turn, Verdict
from clawjax.rewards.endpoint import Answer, EndpointReward
from clawjax.rewards.prompts import (
    HINT_CHOICES,
    HINT_DIGEST,
    build_hint_messages,
    parse_hint,
    stands_by_hint,
)

__all__ = ["HindsightReward"]


class _Read(NamedTuple):
    """What an answer holds; a problem where nothing can be read."""

    hint: str | None
    problem: str = ""


class HindsightReward(EndpointReward):
    """Extracts hints from whatever came after a reply."""

    name = "hindsight"

    async def judge(self, turn: Turn, next_state: NextState) -> Verdict:
        """Every distinct hint, the one that most answers agree on first."""
        messages = build_hint_messages(turn, next_state, nonce=self._make_nonce())
        answers = await self._endpoint.ask_all(messages, choices=HINT_CHOICES)
        read = [_read(answer) for answer in answers]
        hints = [each.hint for each in read]
        return Verdict(
            turn_id=turn.turn_id,
            module=self.name,
            score=None,
            judged_at=time.time(),
            hints=_ranked([hint for hint in hints if hint is not None]),
            votes=tuple(None if r.problem else float(r.hint is not None) for r in read),
            explanation=_explain(read),
            prompt_digest=HINT_DIGEST,
        )


def _ranked(hints: Sequence[str]) -> tuple[str, ...]:
    return tuple(sorted(dict.fromkeys(hints), key=lambda hint: -hints.count(hint)))


def _read(answer: Answer) -> _Read:
    if answer.text is None:
        return _Read(None, answer.problem)
    if stands_by_hint(answer.text) is None:
        return _Read(None, "an answer without a verdict")
    return _Read(parse_hint(answer.text))


def _explain(read: Sequence[_Read]) -> str:
    found = sum(each.hint is not None for each in read)
    problems = sorted({each.problem for each in read if each.problem})
    return "; ".join([f"{found} of {len(read)} answers hold a hint", *problems])
