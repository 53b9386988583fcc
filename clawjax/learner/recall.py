"""What a learner remembers of the reactions it met before, by what the log says of them now.

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
from clawjax.learner.reactions import MetTurn, Reactions, Told
from clawjax.learner.seams import LearnerLog
from clawjax.learner.spoken import said
from clawjax.log.replay import replay
from clawjax.records import DropReason, JudgedTurn

__all__ = ["Memory"]

_ADMITTED = {None, DropReason.NO_SIGNAL, DropReason.CONTENT, DropReason.LISTENED}
"""How turns end that were taken into a batch; None: trained on."""


@dataclass(slots=True)
class Memory:
    """Keeps the learner's reactions, where its objective has a use for them, true to the log."""

    objective: ObjectiveConfig
    reward: RewardConfig
    log: LearnerLog
    reactions: Reactions
    forgotten: int = 0
    """The newest of the forgotten turns that was heard of, by its number in the log."""

    def recall(self, learner: LearnerConfig) -> None:
        """Remember what was met before a restart.

        Args:
            learner: bounds on length, which may be lower than they were.
        """
        if self.objective.recalls_reactions:
            self.reactions.remember(self._met(learner))

    def meet(self, turns: Sequence[AdmittedTurn]) -> None:
        """What was liked or not is an example for its neighbours; praise is learnt from again.

        What somebody wanted forgotten is neither, and what was said of a turn since counts.
        """
        if not self.objective.recalls_reactions:
            return
        self._read_again(dict.fromkeys(admitted.turn.scope for admitted in turns))
        self.reactions.remember(MetTurn(a.turn, a.score, said(a.next_states)) for a in turns)
        while gone := self.log.forgotten(after=self.forgotten):
            self.forgotten = gone[-1][0]
            self.reactions.forget({turn_id for _, turn_id in gone})

    def _met(self, learner: LearnerConfig) -> Iterator[MetTurn]:
        """Turns that were taken into a batch, in order of logging."""
        ends = self.log.outcomes()
        for judged in replay(self.log):
            end = ends.get(judged.turn.turn_id)
            if end is None or end.drop_reason not in _ADMITTED or unfit(judged.turn, learner):
                continue
            yield MetTurn(judged.turn, *self._told(judged))

    def _read_again(self, users: Iterable[str]) -> None:
        """Let what is remembered of these users (`Turn.scope`) be what the log says of it now."""
        for user in users:
            found = self.log.among(self.reactions.met(user))
            self.reactions.correct(user, {one.turn.turn_id: self._told(one) for one in found})

    def _told(self, judged: JudgedTurn) -> Told:
        return Told(score_of(judged, self.objective, self.reward), said(judged.next_states))
