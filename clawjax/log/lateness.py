"""Whether what is said of a turn now is too late for a step, and what it is good for then."""

from __future__ import annotations

from typing import NamedTuple

from clawjax.config import REMEMBERED
from clawjax.log.replay import ENDS_IN_A_BATCH
from clawjax.records import Outcome

__all__ = ["Late", "Use", "use_of", "why_late"]

_RECALLED = (
    "it counts for examples and practice from the next batch on, while the reply is among the "
    f"newest {REMEMBERED} of its key that are remembered"
)


class Late(NamedTuple):
    """No step will be made of a turn by what is said of it now."""

    reason: str
    was_in_a_batch: bool
    """So it is remembered where reactions are recalled (`ObjectiveConfig.recalls_reactions`)."""


class Use(NamedTuple):
    """What a rating or a label is good for."""

    is_used: bool
    reason: str | None = None
    """Why it is not, or how it is where no step will be made of the turn."""


def why_late(step: int | None, outcome: Outcome | None) -> Late | None:
    """What a turn that a `step` has claimed, or that has ended, is too late for; None if neither.

    Read claims before outcomes, as they become such.
    """
    if outcome is None:
        if step is None:
            return None
        return Late(f"the turn is being trained on already, in step {step}", was_in_a_batch=True)
    if outcome.drop_reason is None:
        version = outcome.trained_version
        reason = f"the turn was trained on already, in version {version}"
        return Late(reason, was_in_a_batch=True)
    return Late(
        f"the turn was dropped: {outcome.drop_reason.value}",
        was_in_a_batch=outcome.drop_reason in ENDS_IN_A_BATCH,
    )


def use_of(late: Late | None, *, recalls_reactions: bool) -> Use:
    """What something said at this time can be used for, whatever it is."""
    if late is None:
        return Use(is_used=True)
    if recalls_reactions and late.was_in_a_batch:
        return Use(True, f"{late.reason}; {_RECALLED}")
    return Use(False, late.reason)
