"""What a learner that goes on remembers of the reactions it met before.

Invariant: it is what a learner that was never interrupted would remember. So turns that nothing was
made of, and those still undecided, are not in it.
"""

from __future__ import annotations

from collections.abc import Iterator

from clawjax.config import LearnerConfig, ObjectiveConfig, RewardConfig
from clawjax.learner.admission import score_of, unfit
from clawjax.learner.reactions import ScoredTurn
from clawjax.learner.seams import LearnerLog
from clawjax.learner.spoken import said
from clawjax.log.replay import replay
from clawjax.records import DropReason

__all__ = ["recalled"]

_ADMITTED = {None, DropReason.NO_SIGNAL, DropReason.CONTENT, DropReason.LISTENED}
"""How turns end that were taken into a batch; None: trained on."""


def recalled(
    log: LearnerLog, *, learner: LearnerConfig, objective: ObjectiveConfig, reward: RewardConfig
) -> Iterator[ScoredTurn]:
    """Turns that were taken into a batch and had a score, in order of logging.

    Args:
        log: where they are.
        learner: bounds on length, which may be lower than they were.
        objective: which verdicts are no score of its own.
        reward: weights of the modules.
    """
    ends = log.outcomes()
    for judged in replay(log):
        end = ends.get(judged.turn.turn_id)
        if end is None or end.drop_reason not in _ADMITTED or unfit(judged.turn, learner):
            continue
        score = score_of(judged, objective, reward)
        if score is not None:
            yield ScoredTurn(judged.turn, score, said(judged.next_states))
