"""What a learner remembers of the reactions it met before, by what the log says of them now.

Invariant: one that goes on remembers what one that was never interrupted does. So turns that
nothing was made of, and those still undecided, are not in it; and one that runs on reads what it
remembers again before each batch, as a thumb or a review may come, and a label be taken back, long
after training.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from clawjax.config import LearnerConfig, ObjectiveConfig, RewardConfig
from clawjax.learner.admission import score_of, unfit
from clawjax.learner.reactions import MetTurn, Reactions, Told
from clawjax.learner.seams import LearnerLog
from clawjax.learner.spoken import said
from clawjax.log.replay import replay
from clawjax.records import DropReason, JudgedTurn

__all__ = ["read_again", "recalled"]

_ADMITTED = {None, DropReason.NO_SIGNAL, DropReason.CONTENT, DropReason.LISTENED}
"""How turns end that were taken into a batch; None: trained on."""


def recalled(
    log: LearnerLog, *, learner: LearnerConfig, objective: ObjectiveConfig, reward: RewardConfig
) -> Iterator[MetTurn]:
    """Turns that were taken into a batch, in order of logging.

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
        yield MetTurn(judged.turn, *_told(judged, objective, reward))


def read_again(
    reactions: Reactions,
    users: Iterable[str],
    log: LearnerLog,
    *,
    objective: ObjectiveConfig,
    reward: RewardConfig,
) -> None:
    """Let what is remembered of these users (`Turn.scope`) be what the log says of it now."""
    for user in dict.fromkeys(users):
        found = log.among(reactions.met(user))
        told = {one.turn.turn_id: _told(one, objective, reward) for one in found}
        reactions.correct(user, told)


def _told(judged: JudgedTurn, objective: ObjectiveConfig, reward: RewardConfig) -> Told:
    return Told(score_of(judged, objective, reward), said(judged.next_states))
