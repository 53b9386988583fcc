"""Direct preference optimisation as credit: the better of two replies up, the worse one down.

With the margin `m = log(pi / base)(chosen) - log(pi / base)(rejected)` of whole replies, the loss
`-(1 - e) log sigmoid(beta m) - e log sigmoid(-beta m)` has the gradient
`-beta (sigmoid(-beta m) - e) (grad log pi(chosen) - grad log pi(rejected))`. A batch is consumed
in one step, so that the factor in front is a number known before it: the two replies of a pair
get it as credit, of opposite signs, and need not share a forward pass. The gradient is that of
`clawjax.learner.losses.dpo`, averaged over pairs; not an estimate of it.

Reference: Rafailov et al. 2023, arXiv:2305.18290, eq. 7 and the gradient below it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from clawjax.config import DpoConfig
from clawjax.learner.credit import group
from clawjax.learner.credit.base import (
    AdmittedTurn,
    Credited,
    CreditState,
    LogRatios,
    per_token,
    prompt_group,
)

__all__ = ["dpo"]


def dpo(
    turns: Sequence[AdmittedTurn], state: CreditState, log_ratios: LogRatios, config: DpoConfig
) -> Credited:
    """Credit `c` for which the mean of `-c log pi(y | x)` over turns has DPO's mean gradient.

    Pairs are every two replies in the batch to the same prompt of the same user whose scores
    differ; a turn without a partner has no credit. For the normalisation `turn_sum` alone.
    """
    scored = [admitted for admitted in turns if admitted.score is not None]
    pairs = group.preferences(
        [admitted.score for admitted in scored if admitted.score is not None],
        [prompt_group(admitted) for admitted in scored],
    )
    paired = sorted({place for pair in pairs for place in pair})
    ratios = dict(zip(paired, log_ratios([scored[i].turn for i in paired]), strict=True))
    margins = [ratios[pair.chosen] - ratios[pair.rejected] for pair in pairs]
    pulls = dict.fromkeys(paired, 0.0)
    for pair, margin in zip(pairs, margins, strict=True):
        pull = _pull(margin, config) * len(paired) / len(pairs)
        pulls[pair.chosen] += pull
        pulls[pair.rejected] -= pull
    by_turn = {scored[place].turn.turn_id: pull for place, pull in pulls.items()}
    credit = per_token(turns, (by_turn.get(admitted.turn.turn_id) for admitted in turns))
    return Credited(credit, state, _metrics(margins, config))


def _metrics(margins: Sequence[float], config: DpoConfig) -> dict[str, float]:
    """Means over pairs; only their number where there are none."""
    count = len(margins)
    if count == 0:
        return {"train/dpo_pairs": 0.0}
    return {
        "train/dpo_pairs": float(count),
        "train/dpo_loss": math.fsum(_loss(margin, config) for margin in margins) / count,
        "train/dpo_margin": math.fsum(margins) / count,
        "train/dpo_accuracy": sum(margin > 0 for margin in margins) / count,
    }


def _loss(margin: float, config: DpoConfig) -> float:
    h, e = config.beta * margin, config.label_smoothing
    return -(1.0 - e) * _log_sigmoid(h) - e * _log_sigmoid(-h)


def _pull(margin: float, config: DpoConfig) -> float:
    """`-d loss / d margin`."""
    return config.beta * (math.exp(_log_sigmoid(-config.beta * margin)) - config.label_smoothing)


def _log_sigmoid(x: float) -> float:
    return min(x, 0.0) - math.log1p(math.exp(-abs(x)))
