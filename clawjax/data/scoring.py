"""What offline reinforcement learning asks of a reward model, whichever it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from clawjax.records import Message

__all__ = ["ReplyScorer"]


@runtime_checkable
class ReplyScorer(Protocol):
    """Says how good a reply is, without anybody having reacted to it."""

    def score(self, prompt: Sequence[Message], reply: str) -> float | None:
        """In [-1, 1]; None where it cannot tell: such a reply is not learnt from."""
        ...
