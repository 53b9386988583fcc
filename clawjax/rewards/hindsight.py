"""Hints by a language model: what the assistant should have been told before its reply.

Asks an OpenAI-compatible endpoint several times; each answer that stands by a hint is a candidate
(the semantics of OpenClaw-RL's hint judge). Gives no score. Invariant: an answer that failed or
cannot be read is no hint, and what is wrong with it is on the verdict.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping, Sequence

from clawjax.config import LlmJudgeConfig
from clawjax.records import NextState, NextStateKind, Turn, Verdict
from clawjax.rewards.endpoint import BACKOFF_S, Answer, JudgeEndpoint
from clawjax.rewards.prompts import HINT_DIGEST, build_hint_messages, parse_hint

__all__ = ["HindsightReward"]


class HindsightReward:
    """Extracts hints from whatever came after a reply."""

    name = "hindsight"

    def __init__(
        self,
        config: LlmJudgeConfig,
        *,
        env: Mapping[str, str],
        make_nonce: Callable[[], str] = lambda: secrets.token_hex(8),
        backoff_s: float = BACKOFF_S,
    ) -> None:
        """Read the key from `env`; nothing is sent before the first turn."""
        self._endpoint = JudgeEndpoint(config, env=env, backoff_s=backoff_s)
        self._make_nonce = make_nonce

    def applies(self, turn: Turn, next_state: NextState) -> bool:
        """Whether anything was said or done after the reply."""
        return next_state.kind is not NextStateKind.SESSION_CLOSED and bool(next_state.messages)

    async def judge(self, turn: Turn, next_state: NextState) -> Verdict:
        """Every distinct hint, the one that most answers agree on first."""
        messages = build_hint_messages(turn, next_state, nonce=self._make_nonce())
        answers = await self._endpoint.ask_all(messages)
        hints = [None if a.text is None else parse_hint(a.text) for a in answers]
        return Verdict(
            turn_id=turn.turn_id,
            module=self.name,
            score=None,
            judged_at=time.time(),
            hints=_ranked([hint for hint in hints if hint is not None]),
            votes=tuple(
                None if a.text is None else float(bool(parse_hint(a.text))) for a in answers
            ),
            explanation=_explain(answers, hints),
            prompt_digest=HINT_DIGEST,
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._endpoint.aclose()


def _ranked(hints: Sequence[str]) -> tuple[str, ...]:
    return tuple(sorted(dict.fromkeys(hints), key=lambda hint: -hints.count(hint)))


def _explain(answers: Sequence[Answer], hints: Sequence[str | None]) -> str:
    found = sum(hint is not None for hint in hints)
    problems = sorted({answer.problem for answer in answers if answer.problem})
    return "; ".join([f"{found} of {len(answers)} answers hold a hint", *problems])
