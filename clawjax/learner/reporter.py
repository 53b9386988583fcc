"""What the training loop says of itself, to the monitor and in a line of the log each time.

Decides nothing. Invariant: whatever becomes of a batch that was taken, it is said.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from clawjax.config import ObjectiveConfig
from clawjax.learner.batch_caps import largest_key_share
from clawjax.learner.credit import AdmittedTurn
from clawjax.learner.effective import with_practice
from clawjax.learner.satisfaction import mean_score
from clawjax.learner.signals import Signals
from clawjax.learner.update import Updated
from clawjax.learner.versions import Versions
from clawjax.protocols import Monitor
from clawjax.records import DropReason

__all__ = ["Reporter"]

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Reporter:
    """Reports on steps, and on what did not become one."""

    objective: ObjectiveConfig
    monitor: Monitor

    def rested(self, turns: Sequence[AdmittedTurn], reason: DropReason, *, version: int) -> None:
        """These turns make no step after `version`, as there is no need for one, or not yet."""
        logger.info(
            "no step on %d turns after version %d (%s): their mean score is %s",
            len(turns),
            version,
            reason,
            mean_score(turns),
        )
        self.monitor.log({"train/rested": 1.0, **_reward(turns)}, step=version)

    def without_signal(self, signals: Signals, *, version: int) -> None:
        """A batch has nothing to teach, so that there is no step after `version`."""
        logger.info("no step after version %d: %s", version, signals.effective)
        self.monitor.log(signals.metrics, step=version, texts=signals.effective.texts)

    def made(
        self,
        versions: Versions,
        turns: Sequence[AdmittedTurn],
        signals: Signals,
        updated: Updated,
    ) -> None:
        """The newest of `versions` was made of these turns and is durable."""
        effective = with_practice(signals.effective, self.objective, updated.practised)
        metrics = {
            **updated.metrics,
            **signals.metrics,
            **updated.drift.metrics,
            **_progress(versions),
            **_reward(turns),
            "train/largest_key_share": largest_key_share(turns),
            "train/replayed_turns": float(len(signals.again)),
        }
        self.monitor.log(metrics, step=versions.newest, texts=effective.texts)
        logger.info(
            "version %d: %d turns, loss %.4f, %.1f s; %s",
            versions.newest,
            len(signals.samples),
            metrics["train/loss"],
            metrics["train/seconds"],
            effective,
        )


def _progress(versions: Versions) -> dict[str, float]:
    """How far the run is."""
    progress = versions.progress
    return {
        "train/ema_score": progress.credit.mean,
        "train/turns_total": float(progress.turns),
        "train/tokens_total": float(progress.tokens),
        "train/version": float(versions.newest),
        "train/refused": float(len(versions.lineage.refused)),
    }


def _reward(turns: Sequence[AdmittedTurn]) -> dict[str, float]:
    """The mean score; nothing where no turn has one."""
    mean = mean_score(turns)
    return {} if mean is None else {"train/reward_mean": mean}
