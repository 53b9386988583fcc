"""What a credit function takes and gives: admitted turns in, one advantage per token out.

Invariant: pure Python numbers; the training step is blind to which function ran.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from clawjax.records import NextState, Turn

__all__ = [
    "AdmittedTurn",
    "CreditFunction",
    "CreditState",
    "Credited",
    "LogRatios",
    "by_user",
    "per_token",
    "prompt_group",
]


class AdmittedTurn(NamedTuple):
    """A turn that can be learnt from: it has a score, or hints, or a label as a step."""

    turn: Turn
    score: float | None
    """In [-1, 1]; None where nobody gave one. Where hints alone are learnt from, it tells whether a
    user is content, and which replies need no correction."""
    hints: tuple[str, ...]
    """Best first; empty where the objective learns from scores alone."""
    ready_at: float
    """Unix seconds of the last verdict that says something."""
    process: float | None = None
    """What the turn is worth as a step, in [-1, 1]; None where nobody labelled it, or the objective
    credits no steps."""
    next_states: tuple[NextState, ...] = ()
    """What came after it."""


def by_user(turns: Iterable[AdmittedTurn]) -> dict[str, list[AdmittedTurn]]:
    """The turns of each user (`Turn.scope`); users and turns in the order they come in."""
    found: dict[str, list[AdmittedTurn]] = {}
    for admitted in turns:
        found.setdefault(admitted.turn.scope, []).append(admitted)
    return found


def prompt_group(admitted: AdmittedTurn) -> Hashable:
    """What replies are compared over: one prompt, as one user asked it."""
    return admitted.turn.scope, admitted.turn.prompt_ids


def per_token(
    turns: Iterable[AdmittedTurn], values: Iterable[float | None]
) -> tuple[tuple[float, ...] | None, ...]:
    """Each turn's value at every of its response tokens, `[B][T]`; None where it has none."""
    return tuple(
        None if value is None else (value,) * len(admitted.turn.response_ids)
        for admitted, value in zip(turns, values, strict=True)
    )


@dataclass(frozen=True, slots=True)
class CreditState:
    """What credit remembers between batches; part of every checkpoint."""

    ema_scores: Mapping[str, float] = field(default_factory=dict)
    """Moving average of the mean score of past batches, by user (`Turn.scope`)."""

    @property
    def mean(self) -> float:
        """Over the users; 0 before the first batch."""
        return sum(self.ema_scores.values()) / max(1, len(self.ema_scores))


class Credited(NamedTuple):
    """One advantage per response token of each turn, and the memory for the next batch."""

    credit: tuple[tuple[float, ...] | None, ...]
    """None for a turn without a score, or without another to compare it with."""
    state: CreditState
    metrics: Mapping[str, float] = MappingProxyType({})
    """What the function has to say about the batch, by slash path."""


LogRatios = Callable[[Sequence[Turn]], Sequence[float]]
"""`log pi(y | x) - log base(y | x)` of whole replies, in nats, where `pi` is the policy before the
step. Two forward passes: only for who needs it."""

CreditFunction = Callable[[Sequence[AdmittedTurn], CreditState, LogRatios], Credited]
