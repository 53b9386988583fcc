"""Whose turns a batch is made of, so that who says most does not decide alone.

Pure. A cap is a share of the batch that is really made, rounded down. Invariants: a cap binds only
while turns of others wait, and never below an even split, so who is alone is trained on as if there
were none; a batch has as many turns as its caps allow, and where these are fewer than a step needs,
so many all the same; what is left out waits, in its order, for the next batch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from clawjax.config import LearnerConfig
from clawjax.learner.credit.base import AdmittedTurn

__all__ = ["capped_batch", "largest_key_share"]

_Session = tuple[str, str]
"""Scope and session id: ids of sessions are only known to differ within a scope."""


class _Caps(NamedTuple):
    """How many turns of a batch one key, and one session, may have."""

    key: int
    session: int


def capped_batch(ready: Sequence[AdmittedTurn], config: LearnerConfig) -> Sequence[AdmittedTurn]:
    """The turns of the next batch, at most `batch_turns` of those that are ready, in their order.

    The largest batch in which nobody is over a cap; where that is below `min_turns`, so many turns
    all the same, the oldest of those left out first: a step needs them, and waiting for others
    would make everybody wait.
    """
    sessions = Counter(_session(admitted) for admitted in ready)
    keys = Counter(admitted.turn.scope for admitted in ready)
    most = min(config.batch_turns, len(ready))
    least = min(config.min_turns, most)

    def caps(total: int) -> _Caps:
        return _Caps(
            _cap(config.max_key_share, total, len(keys)),
            _cap(config.max_session_share, total, len(sessions)),
        )

    total = next(
        (size for size in range(most, least, -1) if _fitting(sessions, caps(size)) >= size), least
    )
    return _filled(ready, total, caps(total))


def largest_key_share(turns: Sequence[AdmittedTurn]) -> float:
    """Share of the batch that belongs to the key with most of it; 0 without turns."""
    keys = Counter(admitted.turn.scope for admitted in turns)
    return max(keys.values(), default=0) / max(len(turns), 1)


def _cap(share: float | None, total: int, owners: int) -> int:
    """Turns of a batch of `total` that one of so many owners may have, at least an even split.

    Rounded down: a batch whose even split leaves a rest is made smaller by that rest. One turn is
    what there is least of.
    """
    if share is None or owners < 2:
        return total
    return max(int(share * total), total // owners, 1)


def _fitting(sessions: Counter[_Session], caps: _Caps) -> int:
    """How many of the turns the caps let into one batch."""
    by_key: Counter[str] = Counter()
    for (scope, _), count in sessions.items():
        by_key[scope] += min(count, caps.session)
    return sum(min(count, caps.key) for count in by_key.values())


def _filled(ready: Sequence[AdmittedTurn], total: int, caps: _Caps) -> Sequence[AdmittedTurn]:
    """`total` turns: the oldest that the caps let in, then the oldest of the others."""
    keys: Counter[str] = Counter()
    sessions: Counter[_Session] = Counter()
    within: list[int] = []
    beyond: list[int] = []
    for index, admitted in enumerate(ready):
        key, session = admitted.turn.scope, _session(admitted)
        is_within = keys[key] < caps.key and sessions[session] < caps.session
        (within if is_within else beyond).append(index)
        if is_within:
            keys[key] += 1
            sessions[session] += 1
    return [ready[index] for index in sorted((within + beyond)[:total])]


def _session(admitted: AdmittedTurn) -> _Session:
    return admitted.turn.scope, admitted.turn.session_id
