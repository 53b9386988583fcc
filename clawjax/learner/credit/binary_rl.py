"""Binary RL: every token of a reply gets the turn's score, less what it is compared with.

REINFORCE with scores in [-1, 1] (Williams 1992). What a baseline does to a batch of one mind:

- `none`: complaints push down, praise pushes up, always, even where all is well already.
- `batch_mean`, `leave_one_out` (arXiv:2402.14740, eq. 4), `whiten`: a batch of equal scores, all
  complaints included, teaches nothing. `leave_one_out` has no others to ask in a batch of one,
  which therefore counts in full.
- `ema`: compared with the same user's past. It starts at 0, so a first batch of complaints does
  push, and approaches the mean score as the policy masters the wish, so praise for what it always
  does fades: that is what keeps a solved task from being driven into collapse.
- `grpo`, `dr_grpo`, `rloo`, `reinforce_pp`: compared with other replies to the same prompt
  (`clawjax.learner.credit.group`); a turn without others, or in a group of equal scores, has no
  credit (DAPO's dynamic filter), and no part in the deviation that others' is divided by.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

from clawjax.config import GROUPED, Baseline, ObjectiveConfig
from clawjax.learner.credit import group
from clawjax.learner.credit.base import (
    AdmittedTurn,
    Credited,
    CreditState,
    LogRatios,
    by_user,
    per_token,
    prompt_group,
)

__all__ = ["advance", "advantages", "binary_rl"]


def binary_rl(
    turns: Sequence[AdmittedTurn],
    state: CreditState,
    _log_ratios: LogRatios,
    config: ObjectiveConfig,
) -> Credited:
    """`A_t = A(score)` at every response token t of a scored turn; `A` as configured."""
    scored = [admitted for admitted in turns if admitted.score is not None]
    left_out = _filtered(scored, config.baseline)
    kept = [a for a, reason in zip(scored, left_out, strict=True) if reason is None]
    found = dict(
        zip(
            map(_id, kept),
            group.tilted(advantages(kept, state, config), config.negative_weight),
            strict=True,
        )
    )
    credit = per_token(turns, (found.get(_id(admitted)) for admitted in turns))
    return Credited(credit, CreditState(advance(state.ema_scores, scored, config.ema_decay)))


def _id(admitted: AdmittedTurn) -> str:
    return admitted.turn.turn_id


def _filtered(turns: Sequence[AdmittedTurn], baseline: Baseline) -> Sequence[group.Filtered | None]:
    """Why a turn teaches nothing: nothing to compare it with, or a group of equal scores."""
    if baseline not in GROUPED:
        return [None] * len(turns)
    return group.dynamic_filter(_scores(turns), [prompt_group(admitted) for admitted in turns])


def advantages(
    turns: Sequence[AdmittedTurn],
    state: CreditState,
    config: ObjectiveConfig,
    *,
    groups: Sequence[Hashable] | None = None,
) -> tuple[float, ...]:
    """One per scored turn; a moving average sees earlier batches only.

    Args:
        turns: with scores.
        state: what earlier batches left.
        config: which baseline.
        groups: what a group is for the baselines that have groups, one key per turn; None: the
            replies to one prompt of one user.
    """
    scores, floor = _scores(turns), config.deviation_floor
    groups = [prompt_group(admitted) for admitted in turns] if groups is None else groups
    n, total = len(scores), sum(scores)
    match config.baseline:
        case Baseline.none:
            return tuple(scores)
        case Baseline.batch_mean:
            return tuple(score - total / n for score in scores)
        case Baseline.leave_one_out:
            return tuple(s - (total - s) / (n - 1) if n > 1 else s for s in scores)
        case Baseline.ema:
            means = state.ema_scores
            return tuple(
                s - means.get(admitted.turn.scope, 0.0)
                for s, admitted in zip(scores, turns, strict=True)
            )
        case Baseline.whiten:
            return group.whiten(scores, floor=floor)
        case Baseline.grpo:
            return group.grpo(scores, groups, floor=floor)
        case Baseline.dr_grpo:
            return group.dr_grpo(scores, groups)
        case Baseline.rloo:
            return group.rloo(scores, groups)
        case Baseline.reinforce_pp:
            return group.reinforce_pp(scores, groups=groups, floor=floor)


def advance(
    means: Mapping[str, float], turns: Sequence[AdmittedTurn], decay: float
) -> dict[str, float]:
    """`m <- decay m + (1 - decay) mean(scores)` for each user in the batch."""
    latest = {user: sum(_scores(own)) / len(own) for user, own in by_user(turns).items()}
    moved = {
        user: decay * means.get(user, 0.0) + (1 - decay) * mean for user, mean in latest.items()
    }
    return {**means, **moved}


def _scores(turns: Sequence[AdmittedTurn]) -> list[float]:
    return [admitted.score for admitted in turns if admitted.score is not None]
