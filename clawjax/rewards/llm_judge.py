"""Asks any OpenAI-compatible endpoint for a verdict, several times, and takes the majority.

Invariant: a vote that failed or cannot be read is None and never counts as 0.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from clawjax.config import LlmJudgeConfig
from clawjax.records import NextState, Turn, Verdict
from clawjax.rewards.endpoint import BACKOFF_S, Answer, EndpointReward, new_nonce
from clawjax.rewards.prompts import (
    VOTE_CHOICES,
    Example,
    build_messages,
    parse_vote,
    prompt_digest,
)

__all__ = ["LlmJudgeReward", "majority"]


class _Vote(NamedTuple):
    """One vote, or why there is none."""

    vote: float | None
    problem: str = ""


def majority(votes: Sequence[float | None]) -> float | None:
    """The vote that more valid votes share than any other; None on a tie or without votes."""
    valid = [vote for vote in votes if vote is not None]
    ranked = sorted(((valid.count(vote), vote) for vote in set(valid)), reverse=True)
    if not ranked or (len(ranked) > 1 and ranked[0][0] == ranked[1][0]):
        return None
    return ranked[0][1]


class LlmJudgeReward(EndpointReward):
    """An LLM as judge."""

    name = "llm_judge"

    def __init__(
        self,
        config: LlmJudgeConfig,
        *,
        env: Mapping[str, str],
        examples: Sequence[Example] = (),
        make_nonce: Callable[[], str] = new_nonce,
        backoff_s: float = BACKOFF_S,
    ) -> None:
        """As every module that asks; shows the judge `examples` before each turn."""
        super().__init__(config, env=env, make_nonce=make_nonce, backoff_s=backoff_s)
        self._examples = tuple(examples)

    async def judge(self, turn: Turn, next_state: NextState) -> Verdict:
        """Collect the votes; a tie, a majority of 0 and no valid vote abstain."""
        nonce = self._make_nonce()
        messages = build_messages(turn, next_state, nonce=nonce, examples=self._examples)
        said = await self._endpoint.ask_all(messages, choices=VOTE_CHOICES)
        answers = [_vote(answer) for answer in said]
        votes = tuple(answer.vote for answer in answers)
        decided = majority(votes)
        return Verdict(
            turn_id=turn.turn_id,
            module=self.name,
            score=decided or None,
            judged_at=time.time(),
            votes=votes,
            explanation=_explain(answers, decided),
            prompt_digest=prompt_digest(self._examples),
        )


def _vote(answer: Answer) -> _Vote:
    if answer.text is None:
        return _Vote(None, answer.problem)
    vote = parse_vote(answer.text)
    return _Vote(vote, "" if vote is not None else "an answer without a verdict")


def _explain(answers: Sequence[_Vote], decided: float | None) -> str:
    valid = sum(answer.vote is not None for answer in answers)
    problems = sorted({answer.problem for answer in answers if answer.problem})
    undecided = "tie" if valid else "no valid vote"
    outcome = undecided if decided is None else f"majority {decided:+g}"
    return "; ".join([f"{outcome} ({valid} of {len(answers)} votes valid)", *problems])
