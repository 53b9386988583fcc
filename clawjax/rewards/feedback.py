"""Explicit feedback: a score or thumb counts as given; words alone are judged as a reaction."""

from __future__ import annotations

import time

from clawjax.errors import RewardError
from clawjax.records import NextState, NextStateKind, Turn, Verdict
from clawjax.rewards.next_state import NextStateReward

__all__ = ["FeedbackReward"]


class FeedbackReward:
    """Passes explicit feedback on."""

    name = "feedback"

    def __init__(self, words: NextStateReward) -> None:
        """Leave feedback without a score to `words`."""
        self._words = words

    def applies(self, turn: Turn, next_state: NextState) -> bool:
        """Whether somebody gave feedback."""
        return next_state.kind is NextStateKind.FEEDBACK

    async def judge(self, turn: Turn, next_state: NextState) -> Verdict:
        """The given score, or the reading of the given words.

        Raises:
            RewardError: the score is not in [-1, 1].
        """
        score = next_state.score
        if score is None:
            return await self._words.judge_words(turn, next_state, module=self.name)
        if not -1.0 <= score <= 1.0:
            msg = f"turn {turn.turn_id}: feedback score {score} is outside [-1, 1]"
            raise RewardError(msg)
        return Verdict(
            turn_id=turn.turn_id,
            module=self.name,
            score=float(score),
            judged_at=time.time(),
            explanation="explicit score",
        )

    async def aclose(self) -> None:
        """Nothing is held."""
