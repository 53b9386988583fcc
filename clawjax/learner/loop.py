"""The training loop: judged turns in, published versions out, each turn consumed once.

Owns when a step starts. A step claims its turns, reads what they teach, trains, is checkpointed, is
published, and then settles its turns; one that comes to nothing frees them, and whatever a crash
interrupts, `start` finishes or undoes. Invariants: a turn is trained at most once; serving is never
waited for and never made to wait.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass

from clawjax.config import LearnerConfig
from clawjax.engine.adoption import return_freed_memory
from clawjax.errors import LearnerError
from clawjax.learner.checkpoint import Progress
from clawjax.learner.credit import AdmittedTurn
from clawjax.learner.intake import Intake
from clawjax.learner.making import Made, Maker
from clawjax.learner.protocols import Stop
from clawjax.learner.reporter import Reporter
from clawjax.learner.scoring import Scorer
from clawjax.learner.versions import Versions

__all__ = ["Learner"]

logger = logging.getLogger(__name__)

_SWEEP_SHARE = 5
"""A sweep of t seconds is followed by a pause of at least so many times t."""


@dataclass(slots=True)
class Learner:
    """Runs steps until told to stop. Not thread-safe: one loop, one owner."""

    config: LearnerConfig
    intake: Intake
    maker: Maker
    versions: Versions
    reporter: Reporter

    @property
    def version(self) -> int:
        """The newest version made, which is the number of steps taken."""
        return self.versions.newest

    @property
    def is_finished(self) -> bool:
        """Whether `max_steps` has been reached."""
        return self.config.max_steps is not None and self.version >= self.config.max_steps

    @property
    def scorer(self) -> Scorer:
        """What computes log-probs, whose programs are compiled once."""
        return self.maker.reader.scorer

    def start(self) -> None:
        """Resume: restore, publish what a crash left unpublished, settle or free its turns.

        Raises:
            LearnerError: the checkpoints belong to another model or method.
            StoreError: the store is not writable.
        """
        self.versions.resume()
        released = self.intake.recover(self.version)
        logger.info("learner at version %d, %d turns released", self.version, released)
        self.maker.replay.restore(self.config)

    def run(self, stop: Stop) -> None:
        """Sweep until stopped or finished; a step that has begun is always completed.

        Raises:
            LearnerError: a step is not to be trusted.
            LogError, StoreError: a durable place failed.
        """
        while not stop.is_set() and not self.is_finished:
            began = time.perf_counter()
            if not self.sweep():
                spent = time.perf_counter() - began
                stop.wait(max(self.config.poll_s, _SWEEP_SHARE * spent))

    def sweep(self) -> bool:
        """Decide about what is new, train if it is time; returns whether a step was taken."""
        self.versions.follow()
        was = self.version
        if turns := self.intake.next_batch(was + 1, self.versions.age):
            self.train(turns)
        return self.version > was

    def train(self, turns: Sequence[AdmittedTurn]) -> None:
        """One step on claimed turns, from signals to settlement; none where they teach nothing yet.

        Raises:
            LearnerError: the step is not to be trusted; its turns are free.
        """
        was = self.version
        try:
            made = self.maker.make(turns)
        except LearnerError:
            self.intake.recover(was)
            raise
        if made is None:
            self.intake.recover(was)
        else:
            self._keep(made)

    def _keep(self, made: Made) -> None:
        """Make a step durable, settle its turns, and say what it was."""
        versions, (turns, signals, updated) = self.versions, made
        progress = Progress(
            credit=signals.credit_state,
            turns=versions.progress.turns + len(signals.samples),
            tokens=versions.progress.tokens + int(updated.metrics["train/tokens"]),
            parent=versions.held,
            refused=updated.drift.refused,
        )
        versions.keep(updated.state, progress)
        self.intake.settle(self.version)
        return_freed_memory()  # of a step, which the next one will not soon need
        self.reporter.made(versions, turns, signals, updated)
