"""Replies that are compared with one another are trained on together.

Pure. Invariant: nothing waits until it cannot be trained on any more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from clawjax.learner.credit import AdmittedTurn

__all__ = ["whole_groups"]


def whole_groups(
    ready: Sequence[AdmittedTurn],
    undecided: Mapping[str, str],
    *,
    age: Callable[[int], int],
    max_staleness: int,
) -> list[AdmittedTurn]:
    """The turns that wait for no other choice of their answer, to be compared with it.

    Args:
        ready: turns that may be trained on.
        undecided: the choices of their answers that have not ended, `ready` among them: answers by
            turn.
        age: steps between a version and the policy now.
        max_staleness: a turn that is as old as this waits for nobody.
    """
    are_ready = {admitted.turn.turn_id for admitted in ready}
    incomplete = {answer for turn_id, answer in undecided.items() if turn_id not in are_ready}
    return [
        admitted
        for admitted in ready
        if admitted.turn.response_id not in incomplete
        or max(age(run.version) for run in admitted.turn.token_versions) >= max_staleness
    ]
