"""Binary RL: every token of a reply gets the turn's score, less a baseline.

REINFORCE with scores in [-1, 1] (Williams 1992). What a baseline does to a batch of one mind:

- `none`: complaints push down, praise pushes up, always, even where all is well already.
- `batch_mean`, `leave_one_out` (arXiv:2402.14740, eq. 4): a batch of equal scores, all complaints
  included, teaches nothing. `leave_one_out` has no others to ask in a batch of one, which
  therefore counts in full.
- `ema`: compared with the past. It starts at 0, so a first batch of complaints does push, and
  approaches the mean score as the policy masters the wish, so praise for what it always does
  fades: that is what keeps a solved task from being driven into collapse.
"""

from __future__ import annotations

from collections.abc import Sequence

from clawjax.config import Baseline, ObjectiveConfig
from clawjax.learner.credit.base import AdmittedTurn, Credited, CreditState

__all__ = ["baselines", "binary_rl"]


def binary_rl(
    turns: Sequence[AdmittedTurn], state: CreditState, config: ObjectiveConfig
) -> Credited:
    """`A_t = score - b` at every response token t; `b` as configured, over the scored turns."""
    scores = [turn.score for turn in turns if turn.score is not None]
    if not scores:
        return Credited((None,) * len(turns), state)
    subtracted = iter(baselines(scores, state, config.baseline))
    credit = tuple(
        None
        if turn.score is None
        else (turn.score - next(subtracted),) * len(turn.turn.response_ids)
        for turn in turns
    )
    return Credited(credit, _advance(state, scores, config))


def baselines(scores: Sequence[float], state: CreditState, baseline: Baseline) -> tuple[float, ...]:
    """What is subtracted from each score; the average sees earlier batches only."""
    n, total = len(scores), sum(scores)
    match baseline:
        case Baseline.none:
            return (0.0,) * n
        case Baseline.batch_mean:
            return (total / n,) * n
        case Baseline.leave_one_out:
            return tuple((total - score) / (n - 1) if n > 1 else 0.0 for score in scores)
        case Baseline.ema:
            return (state.ema_score,) * n


def _advance(state: CreditState, scores: Sequence[float], config: ObjectiveConfig) -> CreditState:
    """`m <- decay m + (1 - decay) mean(scores)`, kept up whatever the baseline in use."""
    mean = sum(scores) / len(scores)
    decay = config.ema_decay
    return CreditState(ema_score=decay * state.ema_score + (1 - decay) * mean)
