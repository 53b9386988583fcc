"""People as a reward module: it asks them, and their verdicts are written when they have answered.

A person takes minutes, so this module judges nothing itself: what it has to say of a judged turn is
whether people are to see it (`clawjax.review.reasons`), which the worker commits together with the
judges' verdicts, before training can see these. What they answer becomes the verdict of module
`human` (`clawjax.review.queue`), which overrules every other.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from clawjax.config import HUMAN, HumanConfig
from clawjax.errors import RewardError
from clawjax.log.holding import ReviewRequest
from clawjax.records import NextState, Turn, Verdict
from clawjax.review.reasons import request_for

__all__ = ["HumanReward"]


class HumanReward:
    """Puts turns into the review queue."""

    name = HUMAN

    def __init__(self, config: HumanConfig, *, clock: Callable[[], float] = time.time) -> None:
        """Ask by these rules."""
        self._config = config
        self._clock = clock

    def request(self, turn_id: str, verdicts: Sequence[Verdict]) -> ReviewRequest | None:
        """What to ask people about a turn with these verdicts; None where nothing is."""
        return request_for(turn_id, verdicts, self._config, now=self._clock())

    def applies(self, turn: Turn, next_state: NextState) -> bool:
        """Never: people are asked after the judges."""
        return False

    async def judge(self, turn: Turn, next_state: NextState) -> Verdict:
        """Not to be called: people answer through the review queue.

        Raises:
            RewardError: always.
        """
        msg = f"turn {turn.turn_id}: people answer through the review queue: see `clawjax review`"
        raise RewardError(msg)

    async def aclose(self) -> None:
        """Nothing is held."""
