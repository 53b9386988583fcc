"""Scores a reply with a reward model that was trained on preference pairs; abstains where unsure.

Reads the prompt and the reply, never what came after them. Owns the rule from an opinion to a
verdict: members that disagree and a reply that is neither better nor worse than a middling one are
abstentions. A version that is adopted while a run goes on judges from the next start on.
"""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

from clawjax.config import RewardModelConfig
from clawjax.errors import ConfigError, StoreError
from clawjax.records import Component, NextState, NextStateKind, Turn, Verdict
from clawjax.review.reasons import DISAGREEMENT
from clawjax.rewards.preference_features import FeatureReader, prompt_text
from clawjax.rewards.reward_head import Opinion
from clawjax.rewards.reward_store import RewardModelStore

__all__ = ["RewardModelReward", "score_opinion"]


def score_opinion(opinion: Opinion, config: RewardModelConfig) -> float | None:
    """A score in [-1, 1], or None where the members disagree or are not confident."""
    if opinion.disagreement > config.max_disagreement:
        return None
    p = opinion.probability
    if max(p, 1.0 - p) < config.confidence:
        return None
    return 2.0 * p - 1.0 if config.is_graded else (1.0 if p > 0.5 else -1.0)


class RewardModelReward:
    """Reads the heads at once, so that a missing model is told at start-up; the encoder later."""

    name = "reward_model"

    def __init__(self, config: RewardModelConfig, reader: FeatureReader | None = None) -> None:
        """Judge with the configured version, or the one adopted last.

        Raises:
            ConfigError: there is no such model, or no encoder.
        """
        self._config = config
        try:
            self._stored = RewardModelStore(Path(config.path).expanduser()).load(config.version)
        except StoreError as error:
            raise ConfigError(str(error)) from error
        self._reader = reader or FeatureReader()
        # Held while texts are read, so that two threads do not load the encoder twice.
        self._read_lock = threading.Lock()

    def applies(self, turn: Turn, next_state: NextState) -> bool:
        """Whether there is a reply in words; what came after it does not matter.

        Unless it is a number from a person, which overrules any judge.
        """
        is_told = next_state.kind is NextStateKind.FEEDBACK and next_state.score is not None
        return bool(turn.reply.content.strip()) and not is_told

    async def judge(self, turn: Turn, next_state: NextState) -> Verdict:
        """Rate the reply in a worker thread."""
        opinion = await asyncio.to_thread(self._rate, turn)
        score = score_opinion(opinion, self._config)
        why = (
            f"version {self._stored.version}: better than a middling reply with probability "
            f"{opinion.probability:.2f}, members differ by {opinion.disagreement:.2f}"
        )
        return Verdict(
            turn_id=turn.turn_id,
            module=self.name,
            score=score,
            judged_at=time.time(),
            explanation=why,
            prompt_digest=self._stored.digest,
            components=(
                Component("probability", 2.0 * opinion.probability - 1.0),
                Component(DISAGREEMENT, min(1.0, opinion.disagreement)),
            ),
        )

    async def aclose(self) -> None:
        """Nothing is held open."""

    def _rate(self, turn: Turn) -> Opinion:
        with self._read_lock:
            features = self._reader.read(prompt_text(turn.messages), turn.reply.content)
        return self._stored.head.rate(features)
