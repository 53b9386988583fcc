"""An offline run: batch after batch of a source into the turn log, each trained on at once.

Everything else is the learner's, as for live turns. Invariants: a batch is logged before it is
learnt from and trained on at most once; a run that was interrupted goes on where it stopped.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from clawjax.errors import DataError
from clawjax.learner.loop import Learner
from clawjax.learner.offline.drafts import Policy, Source, logged
from clawjax.learner.protocols import LearnerLog, Stop
from clawjax.protocols import Monitor
from clawjax.records import Outcome, Turn, Verdict

__all__ = ["CURSOR", "MOST_REPLIES", "OfflineLog", "OfflineTrainer"]

logger = logging.getLogger(__name__)

MOST_REPLIES = 1024
"""Of a batch: as many as the learner looks at in one sweep."""

CURSOR = "offline"
"""The cursor's name in the log: how many batches were taken."""


class OfflineLog(LearnerLog, Protocol):
    """The slice of the turn log that an offline run uses."""

    def cursor(self, name: str) -> int:
        """Where a reader stands; 0 at first."""
        ...

    def move_cursor(self, name: str, position: int) -> None:
        """Remember how far a reader has come."""
        ...


@dataclass(slots=True)
class OfflineTrainer:
    """Feeds a learner; made after the learner has resumed."""

    learner: Learner
    log: OfflineLog
    source: Source
    monitor: Monitor
    model_name: str
    batches: int
    """Of the whole run."""
    clock: Callable[[], float] = time.time

    def run(self, stop: Stop) -> bool:
        """Train on what is left; returns whether all batches have been taken.

        Raises:
            DataError: a batch has more replies than the learner looks at.
            LearnerError: a step is not to be trusted.
            LogError, StoreError: a durable place failed.
        """
        self.learner.sweep()  # what an interrupted run had logged and not trained on
        for number in range(self.log.cursor(CURSOR), self.batches):
            if stop.is_set() or self.learner.is_finished:
                return False
            self._take(number)
        return True

    def _take(self, number: int) -> None:
        learner, versions = self.learner, self.learner.versions
        versions.follow()  # where the last version was refused, another answers
        policy = Policy(versions.policy, versions.state.trainable, versions.held)
        drawn = self.source.batch(number, policy)
        if len(drawn.drafts) > MOST_REPLIES:
            msg = (
                f"a batch has {len(drawn.drafts)} replies, the learner looks at {MOST_REPLIES} at "
                "once: lower offline.batch_rows or offline.samples"
            )
            raise DataError(msg)
        records: list[Turn | Verdict | Outcome] = []
        for draft in drawn.drafts:
            records += logged(
                draft, version=policy.version, model=self.model_name, now=self.clock()
            )
        self.log.append(*records)
        self.log.move_cursor(CURSOR, number + 1)
        self.monitor.log(drawn.metrics, step=learner.version + 1)
        is_trained = learner.sweep()
        logger.info("batch %d of %d: trained %s", number + 1, self.batches, is_trained)
