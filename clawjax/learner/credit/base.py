"""What a credit function takes and gives: scored turns in, one advantage per token out.

Invariant: pure Python numbers; the training step is blind to which function ran.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from clawjax.records import Turn

__all__ = ["CreditFunction", "CreditState", "Credited", "ScoredTurn"]


class ScoredTurn(NamedTuple):
    """A turn admitted to training; `score` in [-1, 1]."""

    turn: Turn
    score: float
    ready_at: float
    """Unix seconds of the last verdict that gave a score."""


class CreditState(NamedTuple):
    """What credit remembers between batches; part of every checkpoint."""

    ema_score: float = 0.0
    """Moving average of the mean score of past batches."""


class Credited(NamedTuple):
    """One advantage per response token of each turn, and the memory for the next batch."""

    credit: tuple[tuple[float, ...], ...]
    state: CreditState


CreditFunction = Callable[[Sequence[ScoredTurn], CreditState], Credited]
