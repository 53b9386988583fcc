"""Self-imitation: what a user praised before is learnt from again, while they are not content.

Praise is rare where a wish is seldom met, and a turn that met it says more than many that did not.
Invariants: a turn is replayed only beside later ones of its user; the better these, the less it
counts, so that it fades by itself; what others say makes no difference to that.

Reference: Oh et al. 2018, "Self-Imitation Learning", arXiv:1806.05635: past returns above the
value of now, `(R - V)+`, are imitated.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import zip_longest
from typing import NamedTuple

from clawjax.learner.credit import AdmittedTurn, by_user
from clawjax.learner.replay_buffer import RECENT, ReplayBuffer, ScoredTurn
from clawjax.log.replay import to_sample
from clawjax.records import Sample, Turn

__all__ = ["replayed"]


class _Better(NamedTuple):
    """An earlier turn of a user, and by how much they liked it more than what they get now."""

    turn: Turn
    by: float


def replayed(
    replay_buffer: ReplayBuffer, batch: Sequence[AdmittedTurn], count: int
) -> list[Sample]:
    """Earlier praised turns of the batch's users, with credit `score - mean score` of each user.

    At most `count` of them, and none whose credit would not be positive. Users take places in turn,
    each their newest first.
    """
    here = {admitted.turn.turn_id for admitted in batch}
    better = [
        _better(_earlier(replay_buffer, user, here), _value(turns))
        for user, turns in by_user(batch).items()
    ]
    return [
        to_sample(one.turn, (one.by,) * len(one.turn.response_ids))
        for one in _in_turn(better)[:count]
    ]


def _value(turns: Iterable[AdmittedTurn]) -> float:
    """The mean score of these, 0 where none has one."""
    scores = [admitted.score for admitted in turns if admitted.score is not None]
    return sum(scores) / len(scores) if scores else 0.0


def _better(earlier: Iterable[ScoredTurn], value: float) -> list[_Better]:
    """Those that were liked more than `value`, that of what their user gets now."""
    return [_Better(one.turn, one.score - value) for one in earlier if one.score > value]


def _in_turn(users: Sequence[Sequence[_Better]]) -> list[_Better]:
    """The first of each user, then the second of each, and so on."""
    rounds = zip_longest(*users)
    return [one for each in rounds for one in each if one is not None]


def _earlier(replay_buffer: ReplayBuffer, user: str, here: Collection[str]) -> Sequence[ScoredTurn]:
    """The newest of a user that are not in the batch, the newest first."""
    others = [one for one in replay_buffer.praised(user) if one.turn.turn_id not in here]
    return others[: -RECENT - 1 : -1]
