"""When a step starts: a full batch, or enough turns of which one has waited, or rest. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from clawjax.config import LearnerConfig
from clawjax.learner.credit import AdmittedTurn

__all__ = ["is_due"]


def is_due(
    ready: Sequence[AdmittedTurn], *, now: float, arrived_at: float | None, config: LearnerConfig
) -> bool:
    """Whether a step starts with what is ready.

    A clock that went back holds nothing up: a time that is far ahead counts as one as long past.

    Args:
        ready: turns that may be trained on.
        now: Unix seconds.
        arrived_at: when the last request arrived; None where there was none.
        config: `batch_turns`, `min_turns`, `max_wait_s` and `idle_s`.
    """
    if len(ready) >= config.batch_turns:
        return True
    if len(ready) < config.min_turns:
        return False
    waited_s = max(abs(now - admitted.ready_at) for admitted in ready)
    rests = arrived_at is None or abs(now - arrived_at) >= config.idle_s
    return waited_s >= config.max_wait_s or rests
