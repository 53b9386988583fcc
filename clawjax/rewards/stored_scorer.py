"""A trained reward model version as what offline reinforcement learning asks.

The same head and features as the reward module `reward_model`. A reply in the middle is an
abstention there, where it would be somebody's only verdict; here it is compared with others to the
same question, so that only members that disagree abstain.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from clawjax.errors import ConfigError, StoreError
from clawjax.records import Message
from clawjax.rewards.preference_features import FeatureReader, prompt_text
from clawjax.rewards.reward_store import RewardModelStore

__all__ = ["StoredScorer"]


class StoredScorer:
    """`clawjax.data.scoring.ReplyScorer`."""

    def __init__(
        self, folder: Path, *, max_disagreement: float, reader: FeatureReader | None = None
    ) -> None:
        """Read the version that was adopted last.

        Args:
            folder: of versions, as `experiments/train_reward_model.py` writes it.
            max_disagreement: standard deviation of the members' probabilities above which it
                cannot tell.
            reader: of features; the packaged encoder by default.

        Raises:
            ConfigError: there is no such model, or no encoder.
        """
        try:
            self._stored = RewardModelStore(folder).load()
        except StoreError as error:
            raise ConfigError(str(error)) from error
        self._max_disagreement = max_disagreement
        self._reader = reader or FeatureReader()

    @property
    def version(self) -> int:
        """Of the model."""
        return self._stored.version

    def score(self, prompt: Sequence[Message], reply: str) -> float | None:
        """`2 P(better than a middling reply) - 1`; None where the members disagree, or if empty."""
        if not reply.strip():
            return None
        opinion = self._stored.head.rate(self._reader.read(prompt_text(prompt), reply))
        if opinion.disagreement > self._max_disagreement:
            return None
        return 2.0 * opinion.probability - 1.0
