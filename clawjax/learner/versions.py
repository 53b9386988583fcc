"""The weights that training holds, and the versions made of them.

Owns the train state, its checkpoints and what is published. Invariants: versions are only ever
counted up, and each descends from the one served, also where that is an earlier one than the step
before made; what was made is durable before it is published, and published after a restart at the
latest.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from clawjax.learner.checkpoint import Checkpoints, Progress
from clawjax.learner.publish import Publisher
from clawjax.learner.scoring import Model
from clawjax.learner.step import TrainState, TrainStep
from clawjax.weights import Lineage

__all__ = ["Versions"]

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Versions:
    """Holds the newest version, unless the learner went back to an earlier one."""

    train_step: TrainStep
    checkpoints: Checkpoints
    publisher: Publisher
    state: TrainState
    progress: Progress = field(default_factory=Progress)
    lineage: Lineage = field(default_factory=Lineage)
    held: int = 0
    """The version whose weights `state` has."""

    @property
    def newest(self) -> int:
        """The newest version made, which is the number of steps taken."""
        return int(self.state.step)

    @property
    def policy(self) -> Model:
        """The model that `state` is."""
        return self.train_step.policy(self.state)

    def age(self, version: int) -> int:
        """Steps between a version and the policy now, along the lineage."""
        return self.lineage.distance(self.held, version)

    def resume(self) -> None:
        """Restore what was made last, and publish what a crash left unpublished.

        Raises:
            LearnerError: checkpoints or versions belong to another model or method.
            StoreError: the store is not writable.
        """
        restored = self.checkpoints.restore(self.state)
        if restored is not None:
            self.state, self.progress = restored
        self.lineage = self.publisher.lineage()
        if self.lineage.newest > self.newest:
            logger.warning(
                "version %d is in the store but the newest readable checkpoint is %d: "
                "continuing from the version served",
                self.lineage.newest,
                self.newest,
            )
            self._hold(self.publisher.served() or 0, step=self.lineage.newest)
            return
        self.held = self.newest
        if self.newest == 0 and (origin := self.publisher.load(0)) is not None:
            self.state = self.train_step.restart(self.state, origin, step=0)
        self._publish()
        self.follow()

    def follow(self) -> None:
        """Go back to the version served, where that is not what the last step made.

        Raises:
            LearnerError: it belongs to another model or method.
            StoreError: it is damaged.
        """
        served = self.publisher.served()
        if served is None or served == self.held:
            return
        logger.warning("version %d is served: training goes on from it", served)
        self._hold(served, step=self.newest)

    def keep(self, state: TrainState, progress: Progress) -> None:
        """Make what a step made durable, and publish it.

        Args:
            state: one step after the one held.
            progress: up to and with that step; its parent is the version held until now.

        Raises:
            LearnerError, StoreError: a durable place failed.
        """
        self.state, self.progress, self.held = state, progress, int(state.step)
        self.checkpoints.save(state, progress)
        self._publish()

    def _hold(self, version: int, *, step: int) -> None:
        """Train from a version's weights; the next version will descend from it."""
        self.state = self.train_step.restart(self.state, self.publisher.load(version), step=step)
        self.held = version

    def _publish(self) -> None:
        """Publish what the newest step made, and have it served unless it is refused."""
        made = self.publisher.publish(
            self.state, parent=self.progress.parent, refused=self.progress.refused
        )
        if made is None:
            return
        self.lineage = self.lineage.grown(made)
        if made.refused is not None:
            logger.warning("version %d is kept and not served: %s", made.version, made.refused)
