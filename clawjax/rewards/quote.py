"""Hints in the user's own words: what they complained about, without what they asked next.

Needs no language model: the reaction model reads the message as a whole and then sentence by
sentence. Owns the rule which sentences are a hint. Gives no score.
"""

from __future__ import annotations

import asyncio
import time

from clawjax.config import NextStateConfig
from clawjax.log.reaction import reaction_text
from clawjax.prose import SENTENCE_BREAK
from clawjax.records import NextState, NextStateKind, Turn, Verdict
from clawjax.rewards.next_state import score_of
from clawjax.rewards.reaction_model import Reaction, ReactionModel

__all__ = ["QuoteReward", "sentences"]

_MOST_SENTENCES = 12
"""Of longer messages the beginning is read: that is where reactions stand."""


def sentences(text: str) -> list[str]:
    """Split at full stops, question and exclamation marks, and at line ends."""
    parts = (part.strip() for part in SENTENCE_BREAK.split(text))
    return [part for part in parts if part]


class QuoteReward:
    """Extracts hints from a user's complaint."""

    name = "quote"

    def __init__(self, config: NextStateConfig, model: ReactionModel) -> None:
        """Take for a complaint what the `next_state` judge takes for one."""
        self._confidence = config.confidence
        self._model = model

    def applies(self, turn: Turn, next_state: NextState) -> bool:
        """Whether a user has said something."""
        is_user = next_state.kind in (NextStateKind.USER, NextStateKind.FEEDBACK)
        return is_user and bool(next_state.messages)

    async def judge(self, turn: Turn, next_state: NextState) -> Verdict:
        """All complaining sentences together, then each alone, the clearest first."""
        text = reaction_text(next_state.messages)
        hints = await asyncio.to_thread(self._hints, text) if text else ()
        return Verdict(
            turn_id=turn.turn_id,
            module=self.name,
            score=None,
            judged_at=time.time(),
            hints=hints,
            explanation="" if hints else "no complaint to quote",
            prompt_digest=self._model.digest,
        )

    async def aclose(self) -> None:
        """Nothing is held open."""

    def _hints(self, text: str) -> tuple[str, ...]:
        if not self._is_complaint(self._model.classify(text)):
            return ()
        read = {part: self._model.classify(part) for part in sentences(text)[:_MOST_SENTENCES]}
        found = {part: it.complaint for part, it in read.items() if self._is_complaint(it)}
        alone = sorted(found, key=lambda part: -found[part])
        return tuple(dict.fromkeys([" ".join(found), *alone])) if found else ()

    def _is_complaint(self, reaction: Reaction) -> bool:
        return score_of(reaction, confidence=self._confidence) == -1.0
