"""Replies that are compared with one another are trained on together.

Pure. Invariants: nothing waits until it cannot be trained on any more; a group is not divided over
batches, in which each part would be compared with itself alone, unless it is larger than a batch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from clawjax.learner.credit.base import AdmittedTurn, prompt_group

__all__ = ["undivided", "whole_groups"]


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


def undivided(
    batch: Sequence[AdmittedTurn], ready: Sequence[AdmittedTurn], *, largest: int
) -> Sequence[AdmittedTurn]:
    """The turns of a batch and the rest of the groups that it has begun, in the order of `ready`.

    Args:
        batch: some of `ready`.
        ready: turns that may be trained on.
        largest: a group of more is divided: of one prompt that is asked all the time, say.
    """
    sizes = Counter(prompt_group(admitted) for admitted in ready)
    chosen = {admitted.turn.turn_id for admitted in batch}
    begun = {group for a in batch if sizes[group := prompt_group(a)] <= largest}
    return [a for a in ready if a.turn.turn_id in chosen or prompt_group(a) in begun]
