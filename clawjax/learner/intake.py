"""Turns on their way from the log into a step, and the word of what became of them.

Owns all that the learner says to the log. Invariants: a turn is claimed as it is decided on, before
anything is made of it, and settled once what was learnt of it is durable; whatever is not to be
trained on is dropped with its reason; what is still undecided, or was said more of at that moment,
is left alone. So who is told that their rating is used is not told wrong.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from clawjax.config import LearnerConfig, ObjectiveConfig, RewardConfig
from clawjax.errors import ForgottenError
from clawjax.learner.admission import Admit, Drop, admit
from clawjax.learner.batch_caps import capped_batch
from clawjax.learner.credit import AdmittedTurn
from clawjax.learner.groups import undivided, whole_groups
from clawjax.learner.protocols import LearnerLog
from clawjax.learner.timing import is_due
from clawjax.records import DropReason, JudgedTurn, Outcome

__all__ = ["Intake"]

logger = logging.getLogger(__name__)

_SWEEP_TURNS = 1024
"""Undecided turns looked at in one sweep; the oldest come first, none is forgotten."""


@dataclass(slots=True)
class Intake:
    """Takes batches from the log."""

    config: LearnerConfig
    objective: ObjectiveConfig
    reward: RewardConfig
    log: LearnerLog
    clock: Callable[[], float] = time.time

    def recover(self, version: int) -> int:
        """Settle what was trained into `version` and free what is claimed beyond it.

        That is what a crash left, or a step that comes to nothing.

        Returns:
            How many turns are free again.
        """
        return len(self.log.recover(version))

    def next_batch(self, version: int, age: Callable[[int], int]) -> Sequence[AdmittedTurn]:
        """Decide about what is new, and claim what a step is made of.

        Args:
            version: that the step would make.
            age: steps between a version and the policy now.

        Returns:
            The turns of the step; none where it is not time for one, or where something happened to
            one of them at this moment, which the next sweep sees.
        """
        now, seen = self.clock(), self.log.judged(limit=_SWEEP_TURNS)
        ready = self._whole_groups(self._ready(seen, age, now), age)
        turns = capped_batch(ready, self.config)
        if self.objective.compares_replies:
            turns = undivided(turns, ready, largest=self.config.batch_turns)
        arrived_at = self.log.last_arrival()
        is_time = is_due(turns, now=now, arrived_at=arrived_at, config=self.config)
        return turns if is_time and self._claim(version, turns, seen) else ()

    def begin(self, version: int, turn_ids: Sequence[str], recalls: Sequence[str]) -> bool:
        """Whether a step may learn from these of its turns, and recall those; not if one is gone.

        From then on the version counts as having learnt from all of them.
        """
        try:
            self.log.begin(version, turn_ids, recalls=recalls)
        except ForgottenError as error:
            logger.info("no step after version %d: %s", version - 1, error)
            return False
        return True

    def settle(self, version: int) -> None:
        """The claimed turns are a part of what is durable now."""
        self.log.settle(version, version)

    def drop(self, turn_ids: Sequence[str], reason: DropReason) -> None:
        """They will not be looked at again."""
        self._write_off(dict.fromkeys(turn_ids, reason), self.clock())

    def _claim(
        self, version: int, turns: Sequence[AdmittedTurn], seen: Sequence[JudgedTurn]
    ) -> bool:
        """Take turns for a version, if nothing has happened to them since they were `seen`."""
        turn_ids = [admitted.turn.turn_id for admitted in turns]
        try:
            return self.log.claim(version, turn_ids, seen=seen)
        except ForgottenError as error:
            logger.info("no step after version %d: %s", version - 1, error)
            return False

    def _ready(
        self, seen: Sequence[JudgedTurn], age: Callable[[int], int], now: float
    ) -> list[AdmittedTurn]:
        """What may be trained on; what may not is dropped, what is pending waits."""
        ready: list[AdmittedTurn] = []
        reasons: dict[str, DropReason] = {}
        for judged in seen:
            decision = admit(
                judged,
                age=age,
                learner=self.config,
                objective=self.objective,
                reward=self.reward,
                now=now,
            )
            match decision:
                case Admit(admitted):
                    ready.append(admitted)
                case Drop(reason):
                    reasons[judged.turn.turn_id] = reason
        self._write_off(reasons, now, seen)
        return ready

    def _write_off(
        self, reasons: Mapping[str, DropReason], now: float, seen: Sequence[JudgedTurn] = ()
    ) -> None:
        """Log at once, by turn, why it is dropped; `now` in Unix seconds."""
        if reasons:
            ends = [Outcome(each, now, drop_reason=why) for each, why in reasons.items()]
            self.log.write_off(ends, seen=seen)

    def _whole_groups(
        self, ready: Sequence[AdmittedTurn], age: Callable[[int], int]
    ) -> Sequence[AdmittedTurn]:
        """Without turns whose reply is to be compared with others that are still to be judged."""
        if not ready or not self.objective.compares_replies:
            return ready
        answers = list(dict.fromkeys(admitted.turn.response_id for admitted in ready))
        undecided = self.log.undecided_choices(answers)
        return whole_groups(ready, undecided, age=age, max_staleness=self.config.max_staleness)
