"""A reward module whose scores are corrected by what people said of earlier ones.

Invariants: an abstention stays one; the score that the module gave itself stays on the verdict, as
the component `NAME.uncalibrated`; a verdict's digest tells one calibration from another.
"""

from __future__ import annotations

import dataclasses
import hashlib

from clawjax.protocols import Reward
from clawjax.records import Component, NextState, Turn, Verdict
from clawjax.review.calibration import Calibration, calibrate, uncalibrated

__all__ = ["CalibratedReward", "bare", "calibrated"]


def calibrated(verdict: Verdict, calibration: Calibration) -> Verdict:
    """The verdict with its score corrected; one that nobody may give is left to be refused."""
    digest = _digest(verdict.prompt_digest, calibration)
    score = verdict.score
    if score is None:
        return dataclasses.replace(verdict, prompt_digest=digest)
    if not -1.0 <= score <= 1.0:
        return verdict
    note = f"slope {calibration.slope:.3g}, bias {calibration.bias:+.3g}"
    return dataclasses.replace(
        verdict,
        score=calibrate(score, calibration),
        prompt_digest=digest,
        components=(*verdict.components, Component(uncalibrated(verdict.module), score, note)),
    )


def bare(reward: Reward) -> Reward:
    """The module itself, without its calibration."""
    return reward.inner if isinstance(reward, CalibratedReward) else reward


class CalibratedReward:
    """Asks a module and corrects what it says."""

    def __init__(self, reward: Reward, calibration: Calibration) -> None:
        """Wrap `reward`, which is closed with it and whose name it has."""
        self.name = reward.name
        self.inner = reward
        self._calibration = calibration

    def applies(self, turn: Turn, next_state: NextState) -> bool:
        """Whether the module has anything to say."""
        return self.inner.applies(turn, next_state)

    async def judge(self, turn: Turn, next_state: NextState) -> Verdict:
        """The module's verdict, corrected.

        Raises:
            RewardError: as the module.
        """
        return calibrated(await self.inner.judge(turn, next_state), self._calibration)

    @property
    def answered(self) -> int:
        """How many questions the module's endpoint has taken so far; 0 where it has none."""
        return getattr(self.inner, "answered", 0)

    @property
    def is_away(self) -> bool:
        """Whether the module's endpoint took none when it was asked last."""
        return getattr(self.inner, "is_away", False)

    async def aclose(self) -> None:
        """Close the module."""
        await self.inner.aclose()


def _digest(module: str | None, calibration: Calibration) -> str:
    told = f"{module or ''}:{calibration.slope!r}:{calibration.bias!r}"
    return hashlib.sha256(told.encode()).hexdigest()
