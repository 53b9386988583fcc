"""What a credit function takes and gives: admitted turns in, one advantage per token out.

Invariant: pure Python numbers; the training step is blind to which function ran.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from clawjax.records import Turn

__all__ = ["AdmittedTurn", "CreditFunction", "CreditState", "Credited"]


class AdmittedTurn(NamedTuple):
    """A turn that can be learnt from: it has a score, or hints, or both."""

    turn: Turn
    score: float | None
    """In [-1, 1]; None where nobody gave one, or the objective learns from hints alone."""
    hints: tuple[str, ...]
    """Best first; empty where the objective learns from scores alone."""
    ready_at: float
    """Unix seconds of the last verdict that says something."""


class CreditState(NamedTuple):
    """What credit remembers between batches; part of every checkpoint."""

    ema_score: float = 0.0
    """Moving average of the mean score of past batches."""


class Credited(NamedTuple):
    """One advantage per response token of each turn, and the memory for the next batch."""

    credit: tuple[tuple[float, ...] | None, ...]
    """None for a turn without a score."""
    state: CreditState


CreditFunction = Callable[[Sequence[AdmittedTurn], CreditState], Credited]
