"""What claimed turns make: a version that is still to be kept, or nothing yet.

Turns that need no step, or have nothing to teach, are settled here; what becomes of the others is
the loop's to say. Invariant: a user who is content, or is to be listened to for longer, moves no
weights.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from clawjax.learner.credit import AdmittedTurn
from clawjax.learner.intake import Intake
from clawjax.learner.profiling import Profiler
from clawjax.learner.replay_sync import ReplaySync
from clawjax.learner.reporter import Reporter
from clawjax.learner.satisfaction import satisfied_users
from clawjax.learner.signals import SignalReader, Signals
from clawjax.learner.update import Updated, Updater
from clawjax.learner.versions import Versions
from clawjax.records import DropReason

__all__ = ["Made", "Maker"]


class Made(NamedTuple):
    """A step that is still to be kept."""

    turns: Sequence[AdmittedTurn]
    """Of whose signals it was made."""
    signals: Signals
    updated: Updated


@dataclass(slots=True)
class Maker:
    """Makes a version of the turns that a step has claimed."""

    rest_above: float | None
    """The mean score above which a user's turns move no weights."""
    intake: Intake
    replay: ReplaySync
    reader: SignalReader
    updater: Updater
    versions: Versions
    reporter: Reporter
    profiler: Profiler

    def make(self, turns: Sequence[AdmittedTurn]) -> Made | None:
        """What these turns make of the version held; None where they make nothing.

        Raises:
            LearnerError: the step is not to be trusted.
        """
        self.replay.observe(turns)
        satisfied = satisfied_users(turns, self.rest_above)
        turns = self._rest(turns, satisfied, DropReason.CONTENT)
        preferences = self.updater.preferences(turns)
        new = self.updater.cold_start_users(turns, preferences)
        turns = self._rest(turns, new, DropReason.LISTENED)
        if not turns:
            return None
        versions = self.versions
        with self.profiler.step(versions.newest + 1):
            signals = self.reader.read(turns, versions.state, versions.progress.credit)
            self.intake.drop(signals.without, DropReason.NO_SIGNAL)
            if not self._begins(signals, turns):
                return None
            updated = self.updater.update(
                versions.state, signals, turns, preferences, held=versions.held, age=versions.age
            )
        return Made(turns, signals, updated)

    def _rest(
        self, turns: Sequence[AdmittedTurn], users: Collection[str], reason: DropReason
    ) -> Sequence[AdmittedTurn]:
        """Settle the turns of these users without a step; the other turns."""
        rested = [admitted for admitted in turns if admitted.turn.scope in users]
        if not rested:
            return turns
        self.intake.drop([admitted.turn.turn_id for admitted in rested], reason)
        self.reporter.rested(rested, reason, version=self.versions.newest)
        return [admitted for admitted in turns if admitted.turn.scope not in users]

    def _begins(self, signals: Signals, turns: Sequence[AdmittedTurn]) -> bool:
        """Whether there is something to train on, all of which is still there."""
        if not signals.samples:
            self.reporter.without_signal(signals, version=self.versions.newest)
            return False
        own = [sample.turn_id for sample in signals.samples]
        return self.intake.begin(self.versions.newest + 1, own, self.replay.recalled(turns))
