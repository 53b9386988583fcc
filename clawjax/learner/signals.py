"""What the turns of a batch teach: credit for their scores, a teacher for their hints.

Changes nothing: not the policy, not the log. Invariant: every turn is either a sample with a signal
or named as one without.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from clawjax.config import ObjectiveConfig
from clawjax.learner.credit import AdmittedTurn, CreditFunction, CreditState
from clawjax.learner.effective import EffectiveObjective, effective_objective
from clawjax.learner.replay_buffer import ReplayBuffer
from clawjax.learner.scoring import Scorer
from clawjax.learner.self_imitation import replayed
from clawjax.learner.step import TrainState, TrainStep
from clawjax.learner.teacher import HintTeacher, Lesson
from clawjax.log.replay import to_sample
from clawjax.records import Sample, Turn

__all__ = ["SignalReader", "Signals"]


class Signals(NamedTuple):
    """What a step has to learn from."""

    samples: Sequence[Sample]
    """Turns with credit, a teacher or both."""
    without: Sequence[str]
    """Ids of the turns with neither, e.g. with a hint of no use."""
    again: Sequence[Sample]
    """Earlier turns that are learnt from once more."""
    credit_state: CreditState
    """What the next batch's credit goes on from."""
    effective: EffectiveObjective
    metrics: Mapping[str, float]


@dataclass(slots=True)
class SignalReader:
    """Reads batches with the objective's credit function and teacher."""

    objective: ObjectiveConfig
    credit: CreditFunction
    scorer: Scorer
    train_step: TrainStep
    teacher: HintTeacher | None
    """None where the objective does not learn from hints."""
    replay_buffer: ReplayBuffer = field(default_factory=ReplayBuffer)
    """What the teacher reads and what is learnt from again; the teacher has the same."""

    def read(
        self, turns: Sequence[AdmittedTurn], state: TrainState, credit_state: CreditState
    ) -> Signals:
        """What `turns` teach the policy that `state` is.

        Args:
            turns: of one batch.
            state: of the learner.
            credit_state: as the batch before left it.
        """
        lesson = self._lesson(turns, state)
        credited = self.credit(turns, credit_state, partial(self._log_ratios, state))
        samples = [
            to_sample(admitted.turn, credit, lesson.says.get(admitted.turn.turn_id))
            for admitted, credit in zip(turns, credited.credit, strict=True)
        ]
        taught = [sample for sample in samples if sample.credit or sample.teacher]
        with_signal = {sample.turn_id for sample in taught}
        again = replayed(self.replay_buffer, turns, self.objective.replay_praised) if taught else []
        return Signals(
            samples=taught,
            without=[s.turn_id for s in samples if s.turn_id not in with_signal],
            again=again,
            credit_state=credited.state,
            effective=effective_objective(
                self.objective, turns, credited, lesson, replayed=len(again)
            ),
            metrics={**credited.metrics, **lesson.metrics},
        )

    def _lesson(self, turns: Sequence[AdmittedTurn], state: TrainState) -> Lesson:
        """What the teacher says; nothing where the objective has none."""
        if self.teacher is None:
            return Lesson({}, {})
        return self.teacher.teach(
            turns, teacher=self.train_step.teacher(state), student=self.train_step.policy(state)
        )

    def _log_ratios(self, state: TrainState, turns: Sequence[Turn]) -> list[float]:
        """How much likelier the policy finds each reply than the base does, in nats."""
        return self.scorer.log_ratios(
            [to_sample(turn, None) for turn in turns],
            policy=self.train_step.policy(state),
            base=self.train_step.base,
        )
