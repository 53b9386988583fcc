"""The training loop: judged turns in, published versions out, each turn consumed once.

Owns when a step starts. A step claims its turns, trains, is checkpointed, is published, and then
settles its turns; whatever a crash interrupts, `start` finishes or undoes. Invariants: a turn
is trained at most once; steps are only ever counted up, and each starts from the version served,
also where that is an earlier one than the step before made; a durable checkpoint is published
after a restart at the latest; serving is never waited for and never made to wait.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from clawjax.config import LearnerConfig, ObjectiveConfig, RewardConfig
from clawjax.engine.adoption import return_freed_memory
from clawjax.errors import ForgottenError
from clawjax.learner.admission import Admit, Drop, admit
from clawjax.learner.checkpoint import Checkpoints, Progress
from clawjax.learner.contentment import content_users, mean_score
from clawjax.learner.credit import AdmittedTurn
from clawjax.learner.effective import with_practice
from clawjax.learner.groups import whole_groups
from clawjax.learner.publish import Publisher
from clawjax.learner.reactions import MetTurn
from clawjax.learner.recall import read_again
from clawjax.learner.seams import LearnerLog, Stop
from clawjax.learner.shares import largest_key_share, share_out
from clawjax.learner.signals import SignalReader, Signals
from clawjax.learner.spoken import said
from clawjax.learner.step import TrainState, TrainStep
from clawjax.learner.timing import is_due
from clawjax.learner.update import Updater
from clawjax.protocols import Monitor
from clawjax.records import DropReason, Outcome
from clawjax.weights import Lineage

__all__ = ["Learner"]

logger = logging.getLogger(__name__)

_SWEEP_TURNS = 1024
"""Undecided turns looked at in one sweep; the oldest come first, none is forgotten."""
_SWEEP_SHARE = 5
"""A sweep of t seconds is followed by a pause of at least so many times t."""


@dataclass(slots=True)
class Learner:
    """Runs steps until told to stop. Not thread-safe: one loop, one owner."""

    config: LearnerConfig
    reward: RewardConfig
    log: LearnerLog
    objective: ObjectiveConfig
    reader: SignalReader
    updater: Updater
    checkpoints: Checkpoints
    publisher: Publisher
    monitor: Monitor
    state: TrainState
    clock: Callable[[], float] = time.time
    progress: Progress = field(default_factory=Progress)
    lineage: Lineage = field(default_factory=Lineage)
    forgotten: int = 0
    """The newest of the forgotten turns that memory has heard of, by its number in the log."""
    held: int = 0
    """The version whose weights `state` has: the newest, unless the learner went back."""

    @property
    def version(self) -> int:
        """The newest version made, which is the number of steps taken."""
        return int(self.state.step)

    @property
    def train_step(self) -> TrainStep:
        """What makes policies of weights."""
        return self.updater.train_step

    @property
    def is_finished(self) -> bool:
        """Whether `max_steps` has been reached."""
        return self.config.max_steps is not None and self.version >= self.config.max_steps

    def start(self) -> None:
        """Resume: restore, publish what a crash left unpublished, settle or free its turns.

        Raises:
            LearnerError: the checkpoints belong to another model or method.
            StoreError: the store is not writable.
        """
        restored = self.checkpoints.restore(self.state)
        if restored is not None:
            self.state, self.progress = restored
        self.lineage = self.publisher.lineage()
        if self.lineage.newest > self.version:
            logger.warning(
                "version %d is in the store but the newest readable checkpoint is %d: "
                "continuing from the version served",
                self.lineage.newest,
                self.version,
            )
            self._hold(self.publisher.served() or 0, step=self.lineage.newest)
        else:
            self.held = self.version
            if self.version == 0 and (origin := self.publisher.load(0)) is not None:
                self.state = self.train_step.restart(self.state, origin, step=0)
            self._publish()
            self.follow()
        released = self.log.recover(self.version)
        logger.info("learner at version %d, %d turns released", self.version, len(released))

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

    def follow(self) -> None:
        """Go back to the version served, where that is not what the last step made.

        Raises:
            StoreError: it is damaged.
        """
        served = self.publisher.served()
        if served is None or served == self.held:
            return
        logger.warning("version %d is served: training goes on from it", served)
        self._hold(served, step=self.version)

    def sweep(self) -> bool:
        """Decide about what is new, train if it is time; returns whether a step was taken."""
        self.follow()
        now = self.clock()
        ready: list[AdmittedTurn] = []
        drops: list[Outcome] = []
        for judged in self.log.judged(limit=_SWEEP_TURNS):
            decision = admit(
                judged,
                age=self._age,
                learner=self.config,
                objective=self.objective,
                reward=self.reward,
                now=now,
            )
            match decision:
                case Admit(admitted):
                    ready.append(admitted)
                case Drop(reason):
                    drops.append(Outcome(judged.turn.turn_id, now, drop_reason=reason))
        if drops:
            self.log.append(*drops)
        turns = share_out(self._whole_groups(ready), self.config)
        arrived_at = self.log.last_arrival()
        if not is_due(turns, now=now, arrived_at=arrived_at, config=self.config):
            return False
        was = self.version
        self.train(turns)
        return self.version > was

    def _whole_groups(self, ready: Sequence[AdmittedTurn]) -> Sequence[AdmittedTurn]:
        """Without turns whose reply is to be compared with others that are still to be judged."""
        if not ready or not self.objective.compares_replies:
            return ready
        answers = list(dict.fromkeys(admitted.turn.response_id for admitted in ready))
        undecided = self.log.undecided_choices(answers)
        bound = self.config.max_staleness
        return whole_groups(ready, undecided, age=self._age, max_staleness=bound)

    def train(self, turns: Sequence[AdmittedTurn]) -> None:
        """One step, from signals to settlement; none where nothing is to be learnt yet."""
        self._remember(turns)
        turns = self._rest(turns, content_users(turns, self.config.rest_above), DropReason.CONTENT)
        tastes = self.updater.tastes(turns)
        new = self.updater.strangers(turns, tastes)
        turns = self._rest(turns, new, DropReason.LISTENED)
        if not turns:
            return
        signals = self.reader.read(turns, self.state, self.progress.credit)
        self._drop(signals.without, DropReason.NO_SIGNAL)
        if not self._claim(signals):
            return
        self.state, metrics, drift, practised = self.updater.update(
            self.state, signals, turns, tastes, held=self.held, age=self._age
        )
        self.progress = Progress(
            credit=signals.credit_state,
            turns=self.progress.turns + len(signals.samples),
            tokens=self.progress.tokens + int(metrics["train/tokens"]),
            parent=self.held,
            refused=drift.refused,
        )
        self.held = self.version
        self._settle()
        metrics |= {**signals.metrics, **drift.metrics, **self._progress_metrics(turns)}
        metrics["train/replayed_turns"] = float(len(signals.again))
        effective = with_practice(signals.effective, self.objective, practised)
        self.monitor.log(metrics, step=self.version, texts=effective.texts)
        logger.info(
            "version %d: %d turns, loss %.4f, %.1f s; %s",
            self.version,
            len(signals.samples),
            metrics["train/loss"],
            metrics["train/seconds"],
            effective,
        )

    def _claim(self, signals: Signals) -> bool:
        """Take the turns for the next version; False where there are none, or one is gone."""
        if not signals.samples:
            logger.info("no step after version %d: %s", self.version, signals.effective)
            self.monitor.log(signals.metrics, step=self.version, texts=signals.effective.texts)
            return False
        try:
            self.log.claim(self.version + 1, [sample.turn_id for sample in signals.samples])
        except ForgottenError as error:  # the next sweep does not see these turns
            logger.info("no step after version %d: %s", self.version, error)
            return False
        return True

    def _settle(self) -> None:
        """Make the newest version durable and served, and its turns trained."""
        self.checkpoints.save(self.state, self.progress)
        self._publish()
        self.log.settle(self.version, self.version)
        return_freed_memory()  # of a step, which the next one will not soon need

    def _remember(self, turns: Sequence[AdmittedTurn]) -> None:
        """What was liked or not is an example for its neighbours; praise is learnt from again.

        What somebody wanted forgotten is neither, and what was said of a turn since counts.
        """
        if not self.objective.recalls_reactions:
            return
        reactions, users = self.reader.reactions, [a.turn.scope for a in turns]
        read_again(reactions, users, self.log, objective=self.objective, reward=self.reward)
        reactions.remember(MetTurn(a.turn, a.score, said(a.next_states)) for a in turns)
        while gone := self.log.forgotten(after=self.forgotten):
            self.forgotten = gone[-1][0]
            reactions.forget({turn_id for _, turn_id in gone})

    def _rest(
        self, turns: Sequence[AdmittedTurn], users: set[str], reason: DropReason
    ) -> Sequence[AdmittedTurn]:
        """Settle the turns of these users without a step; the other turns."""
        rested = [admitted for admitted in turns if admitted.turn.scope in users]
        if not rested:
            return turns
        self._drop([admitted.turn.turn_id for admitted in rested], reason)
        mean = mean_score(rested)
        logger.info(
            "no step on %d turns after version %d (%s): their mean score is %s",
            len(rested),
            self.version,
            reason,
            mean,
        )
        known = {} if mean is None else {"train/reward_mean": mean}
        self.monitor.log({"train/rested": 1.0, **known}, step=self.version)
        return [admitted for admitted in turns if admitted.turn.scope not in users]

    def _drop(self, turn_ids: Sequence[str], reason: DropReason) -> None:
        """They will not be looked at again."""
        if turn_ids:
            now = self.clock()
            self.log.append(*(Outcome(turn_id, now, drop_reason=reason) for turn_id in turn_ids))

    def _hold(self, version: int, *, step: int) -> None:
        """Train from a version's weights; the next version will descend from it."""
        self.state = self.train_step.restart(self.state, self.publisher.load(version), step=step)
        self.held = version

    def _publish(self) -> None:
        """Keep what the newest step made, and serve it unless it is refused."""
        made = self.publisher.publish(
            self.state, parent=self.progress.parent, refused=self.progress.refused
        )
        if made is None:
            return
        self.lineage = self.lineage.grown(made)
        if made.refused is not None:
            logger.warning("version %d is kept and not served: %s", made.version, made.refused)

    def _age(self, version: int) -> int:
        """Steps between a version and the policy now, along the lineage."""
        return self.lineage.distance(self.held, version)

    def _progress_metrics(self, turns: Sequence[AdmittedTurn]) -> dict[str, float]:
        mean = mean_score(turns)
        return ({} if mean is None else {"train/reward_mean": mean}) | {
            "train/ema_score": self.progress.credit.mean,
            "train/turns_total": float(self.progress.turns),
            "train/tokens_total": float(self.progress.tokens),
            "train/version": float(self.version),
            "train/refused": float(len(self.lineage.refused)),
            "train/largest_key_share": largest_key_share(turns),
        }
