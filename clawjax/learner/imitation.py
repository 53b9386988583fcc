"""Self-imitation: what a user praised before is learnt from again, while they are not content.

Praise is rare where a wish is seldom met, and a turn that met it says more than many that did not.
Invariants: a turn is replayed only beside later ones of its user; the better the batch, the less a
replayed turn counts, so that it fades by itself.

Reference: Oh et al. 2018, "Self-Imitation Learning", arXiv:1806.05635: past returns above the
value of now, `(R - V)+`, are imitated.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from clawjax.learner.credit import AdmittedTurn
from clawjax.learner.reactions import RECENT, Reactions, ScoredTurn
from clawjax.log.replay import to_sample
from clawjax.records import Sample

__all__ = ["replayed"]


def replayed(reactions: Reactions, batch: Sequence[AdmittedTurn], count: int) -> list[Sample]:
    """Earlier praised turns of the batch's users, newest first, with credit `score - mean score`.

    At most `count` of them, and none whose credit would not be positive.
    """
    scores = [admitted.score for admitted in batch if admitted.score is not None]
    value = sum(scores) / len(scores) if scores else 0.0
    here = {admitted.turn.turn_id for admitted in batch}
    better = [
        one
        for user in dict.fromkeys(admitted.turn.scope for admitted in batch)
        for one in _earlier(reactions, user, here)
        if one.score > value
    ]
    return [
        to_sample(one.turn, (one.score - value,) * len(one.turn.response_ids))
        for one in better[:count]
    ]


def _earlier(reactions: Reactions, user: str, here: Collection[str]) -> Sequence[ScoredTurn]:
    """The newest of a user that are not in the batch, the newest first."""
    others = [one for one in reactions.praised(user) if one.turn.turn_id not in here]
    return others[: -RECENT - 1 : -1]
