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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp

from clawjax.config import LearnerConfig, ObjectiveConfig, RewardConfig
from clawjax.engine.adoption import return_freed_memory
from clawjax.errors import ForgottenError
from clawjax.learner.admission import Admit, Drop, admit
from clawjax.learner.batching import Batch
from clawjax.learner.budget import Checked, DriftBudget
from clawjax.learner.checkpoint import Checkpoints, Progress
from clawjax.learner.contentment import is_content, mean_score, step_share
from clawjax.learner.credit import AdmittedTurn, CreditFunction
from clawjax.learner.effective import effective_objective
from clawjax.learner.imitation import replayed
from clawjax.learner.mini_batches import mini_batches
from clawjax.learner.practice import KnownTaste, Practice
from clawjax.learner.publish import Publisher
from clawjax.learner.reactions import Reactions, ScoredTurn
from clawjax.learner.scoring import Scorer
from clawjax.learner.seams import LearnerLog, Stop
from clawjax.learner.shares import largest_key_share, share_out
from clawjax.learner.spoken import said
from clawjax.learner.step import TrainState, TrainStep
from clawjax.learner.teacher import HintTeacher, Lesson
from clawjax.learner.timing import is_due
from clawjax.log.replay import to_sample
from clawjax.protocols import Monitor
from clawjax.records import DropReason, Outcome, Sample, Turn
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
    credit: CreditFunction
    objective: ObjectiveConfig
    scorer: Scorer
    teacher: HintTeacher | None
    """None where the objective does not learn from hints."""
    train_step: TrainStep
    checkpoints: Checkpoints
    publisher: Publisher
    monitor: Monitor
    state: TrainState
    budget: DriftBudget | None = None
    """None where nothing is limited."""
    reactions: Reactions = field(default_factory=Reactions)
    """What the teacher reads and what is learnt from again; the teacher has the same."""
    practice: Practice | None = None
    """None where nothing is learnt from answers that nobody asked for."""
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
            )
            match decision:
                case Admit(admitted):
                    ready.append(admitted)
                case Drop(reason):
                    drops.append(Outcome(judged.turn.turn_id, now, drop_reason=reason))
        if drops:
            self.log.append(*drops)
        turns = share_out(ready, self.config)
        arrived_at = self.log.last_arrival()
        if not is_due(turns, now=now, arrived_at=arrived_at, config=self.config):
            return False
        was = self.version
        self.train(turns)
        return self.version > was

    def train(self, turns: Sequence[AdmittedTurn]) -> None:
        """One step, from lesson to settlement; none where no turn has a signal, or all is well."""
        self._remember(turns)
        if is_content(turns, self.config.rest_above):
            self._rest(turns, DropReason.CONTENT)
            return
        scopes = [admitted.turn.scope for admitted in turns]
        tastes = {} if self.practice is None else self.practice.tastes(scopes)
        new = {scope for scope in scopes if self.practice and self.practice.is_new(scope, tastes)}
        if new:
            self._rest([a for a in turns if a.turn.scope in new], DropReason.LISTENED)
            turns = [a for a in turns if a.turn.scope not in new]
        if not turns:
            return
        lesson = self._lesson(turns)
        credited = self.credit(turns, self.progress.credit, self._log_ratios)
        samples = [
            to_sample(admitted.turn, credit, lesson.says.get(admitted.turn.turn_id))
            for admitted, credit in zip(turns, credited.credit, strict=True)
        ]
        samples = self._with_signal(samples)
        again = replayed(self.reactions, turns, self.objective.replay_praised) if samples else []
        effective = effective_objective(
            self.objective, turns, credited, lesson, replayed=len(again)
        )
        said = {**credited.metrics, **lesson.metrics}
        if not samples:
            logger.info("no step after version %d: %s", self.version, effective)
            self.monitor.log(said, step=self.version, texts=effective.texts)
            return
        version = self.version + 1
        try:
            self.log.claim(version, [sample.turn_id for sample in samples])
        except ForgottenError as error:  # the next sweep does not see these turns
            logger.info("no step after version %d: %s", self.version, error)
            return
        metrics = self._step([*samples, *again], turns, self._step_bound(turns, tastes))
        metrics |= self._practise(turns, tastes)
        drift = self._drift(samples)
        self.progress = Progress(
            credit=credited.state,
            turns=self.progress.turns + len(samples),
            tokens=self.progress.tokens + int(metrics["train/tokens"]),
            parent=self.held,
            refused=drift.refused,
        )
        self.held = version
        self.checkpoints.save(self.state, self.progress)
        self._publish()
        self.log.settle(version, version)
        return_freed_memory()  # of a step, which the next one will not soon need
        metrics |= said | drift.metrics | self._progress_metrics(turns)
        metrics["train/replayed_turns"] = float(len(again))
        self.monitor.log(metrics, step=version, texts=effective.texts)
        logger.info(
            "version %d: %d turns, loss %.4f, %.1f s; %s",
            version,
            len(samples),
            metrics["train/loss"],
            metrics["train/seconds"],
            effective,
        )

    def _remember(self, turns: Sequence[AdmittedTurn]) -> None:
        """What was liked or not is an example for its neighbours; praise is learnt from again.

        What somebody wanted forgotten is neither.
        """
        if not self.objective.recalls_reactions:
            return
        self.reactions.remember(
            ScoredTurn(a.turn, a.score, said(a.next_states)) for a in turns if a.score is not None
        )
        while gone := self.log.forgotten(after=self.forgotten):
            self.forgotten = gone[-1][0]
            self.reactions.forget({turn_id for _, turn_id in gone})

    def _step(
        self, samples: Sequence[Sample], turns: Sequence[AdmittedTurn], bound: float | None
    ) -> dict[str, float]:
        """Update the policy, not farther than a bound in nats per reply; its metrics."""
        if self.budget is None or bound is None:
            self.state, metrics = self.train_step.run(self.state, self._batches(samples, turns))
            return metrics
        before = jax.tree.map(jnp.array, self.state.trainable)  # the state is donated
        self.state, metrics = self.train_step.run(self.state, self._batches(samples, turns))
        shortened = self.budget.shortened(
            before,
            self.state.trainable,
            max_kl=bound,
            model=self.train_step.model,
            samples=samples,
        )
        self.state = self.state._replace(trainable=shortened.trainable)
        return metrics | shortened.metrics

    def _practise(
        self, turns: Sequence[AdmittedTurn], tastes: Mapping[str, KnownTaste]
    ) -> dict[str, float]:
        """Go on with answers nobody asked for, an update each, all part of the same version."""
        if self.practice is None:
            return {}
        metrics = {"train/practised": 0.0}
        for seed in self.practice.seeds(self.version):
            found = self.practice.rehearse(
                tastes, self.state.trainable, version=self.held, seed=seed
            )
            if found.samples:
                self.state = self.state._replace(step=self.state.step - 1)  # one version in all
                moved = self._step(found.samples, turns, found.reach)
                if "drift/step_reply_kl" in moved:
                    metrics["train/practice_reply_kl"] = moved["drift/step_reply_kl"]
            metrics["train/practised"] += len(found.samples)
            if found.mean_score is not None:
                metrics["train/practice_score"] = found.mean_score
                metrics["train/practice_reach"] = found.reach
        return metrics

    def _step_bound(
        self, turns: Sequence[AdmittedTurn], tastes: Mapping[str, KnownTaste]
    ) -> float | None:
        """How far an update may lead, in nats per reply; None where that is not limited."""
        bound = self.config.drift.max_step_reply_kl
        if bound is None:
            return None
        if self.config.drift.eases:
            bound *= step_share(turns, self.config.rest_above)
        if self.practice is not None:
            bound *= self.practice.step_share([a.turn.scope for a in turns], tastes)
        return bound

    def _rest(self, turns: Sequence[AdmittedTurn], reason: DropReason) -> None:
        """Settle turns without a step."""
        now = self.clock()
        self.log.append(*(Outcome(a.turn.turn_id, now, drop_reason=reason) for a in turns))
        mean = mean_score(turns)
        logger.info(
            "no step on %d turns after version %d (%s): their mean score is %s",
            len(turns),
            self.version,
            reason,
            mean,
        )
        self.monitor.log({"train/reward_mean": mean or 0.0, "train/rested": 1.0}, step=self.version)

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

    def _drift(self, samples: Sequence[Sample]) -> Checked:
        if self.budget is None:
            return Checked({}, None)
        return self.budget.check(self.train_step.policy(self.state), samples)

    def _age(self, version: int) -> int:
        """Steps between a version and the policy now, along the lineage."""
        return self.lineage.distance(self.held, version)

    def _lesson(self, turns: Sequence[AdmittedTurn]) -> Lesson:
        """What the teacher says; nothing where the objective has none."""
        if self.teacher is None:
            return Lesson({}, {})
        return self.teacher.teach(
            turns,
            teacher=self.train_step.teacher(self.state),
            student=self.train_step.policy(self.state),
        )

    def _log_ratios(self, turns: Sequence[Turn]) -> list[float]:
        """How much likelier the policy finds each reply than the base does, in nats."""
        return self.scorer.log_ratios(
            [to_sample(turn, None) for turn in turns],
            policy=self.train_step.policy(self.state),
            base=self.train_step.base,
        )

    def _with_signal(self, samples: Sequence[Sample]) -> list[Sample]:
        """Those with credit or a teacher; the others, e.g. with a hint of no use, are dropped."""
        kept = [sample for sample in samples if sample.credit or sample.teacher]
        now, ids = self.clock(), {sample.turn_id for sample in kept}
        drops = [
            Outcome(sample.turn_id, now, drop_reason=DropReason.NO_SIGNAL)
            for sample in samples
            if sample.turn_id not in ids
        ]
        if drops:
            self.log.append(*drops)
        return kept

    def _batches(self, samples: Sequence[Sample], turns: Sequence[AdmittedTurn]) -> list[Batch]:
        return mini_batches(
            samples,
            turns,
            learner=self.config,
            objective=self.objective,
            age=self._age,
            version=self.version,
        )

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
