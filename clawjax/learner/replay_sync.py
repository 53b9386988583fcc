"""Keeps the replay buffer as the log has it: what a learner has seen, by what is known of it now.

Invariant: one that goes on remembers what one that was never interrupted does. So turns that
nothing was made of, and those still undecided, are not in it; and one that runs on reads what it
remembers again before each batch, as a thumb or a review may come, and a label be taken back, long
after training.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from clawjax.config import LearnerConfig, ObjectiveConfig, RewardConfig
from clawjax.learner.admission import score_of, unfit
from clawjax.learner.credit import AdmittedTurn
from clawjax.learner.mentions import user_text
from clawjax.learner.protocols import LearnerLog
from clawjax.learner.replay_buffer import Feedback, ReplayBuffer, SeenTurn
from clawjax.log.replay import ENDS_IN_A_BATCH, replay
from clawjax.records import JudgedTurn

__all__ = ["ReplaySync"]


@dataclass(slots=True)
class ReplaySync:
    """Keeps a replay buffer, where the objective has a use for it, true to the log."""

    objective: ObjectiveConfig
    reward: RewardConfig
    log: LearnerLog
    replay_buffer: ReplayBuffer
    forgotten: int = 0
    """The newest of the forgotten turns that was heard of, by its number in the log."""

    def restore(self, learner: LearnerConfig) -> None:
        """Hold again what was seen before a restart.

        Args:
            learner: bounds on length, which may be lower than they were.
        """
        if self.objective.recalls_reactions:
            self.replay_buffer.add(self._seen(learner))

    def observe(self, turns: Sequence[AdmittedTurn]) -> None:
        """What was liked or not is an example for its neighbours; praise is learnt from again.

        What somebody wanted forgotten is neither, and what was said of a turn since counts.
        """
        if not self.objective.recalls_reactions:
            return
        self._refresh(dict.fromkeys(admitted.turn.scope for admitted in turns))
        self.replay_buffer.add(SeenTurn(a.turn, a.score, user_text(a.next_states)) for a in turns)
        while gone := self.log.forgotten(after=self.forgotten):
            self.forgotten = gone[-1][0]
            self.replay_buffer.remove({turn_id for _, turn_id in gone})

    def recalled(self, turns: Sequence[AdmittedTurn]) -> list[str]:
        """Ids of what a step on these turns may recall: all that their users have scored.

        Practice goes by all of it; a teacher, and praise that is learnt from again, by some.
        """
        users = dict.fromkeys(admitted.turn.scope for admitted in turns)
        return [one.turn.turn_id for user in users for one in self.replay_buffer.scored(user)]

    def _seen(self, learner: LearnerConfig) -> Iterator[SeenTurn]:
        """Turns that were taken into a batch, in order of logging."""
        ends = self.log.outcomes()
        for judged in replay(self.log):
            end = ends.get(judged.turn.turn_id)
            if end is None or end.drop_reason not in ENDS_IN_A_BATCH:
                continue
            if unfit(judged.turn, learner):
                continue
            yield SeenTurn(judged.turn, *self._feedback(judged))

    def _refresh(self, users: Iterable[str]) -> None:
        """Let what is remembered of these users (`Turn.scope`) be what the log says of it now."""
        for user in users:
            found = self.log.among(self.replay_buffer.turn_ids(user))
            self.replay_buffer.revise(
                user, {one.turn.turn_id: self._feedback(one) for one in found}
            )

    def _feedback(self, judged: JudgedTurn) -> Feedback:
        return Feedback(
            score_of(judged, self.objective, self.reward), user_text(judged.next_states)
        )
