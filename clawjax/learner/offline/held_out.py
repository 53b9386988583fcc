"""What a policy makes of replies that it was not trained on."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from clawjax.data.preferences import Preference
from clawjax.learner.offline.drafts import plain_sample
from clawjax.learner.offline.material import Material
from clawjax.learner.scoring import Model, Scorer
from clawjax.records import Sample

__all__ = ["held_out_metrics"]


def held_out_metrics(
    material: Material, scorer: Scorer, *, policy: Model, base: Model
) -> dict[str, float]:
    """Likelihood of examples and of chosen replies, and how often the chosen one gained more.

    `offline/accuracy` is the share of pairs whose chosen reply the policy prefers by DPO's implicit
    reward, `log policy(y | x) - log base(y | x)`; a tie counts one half, so that the base has 0.5.
    Empty where there are no rows.
    """
    if not material.rows:
        return {}
    better = [plain_sample(str(n), material.replies[row][0]) for n, row in enumerate(material.rows)]
    found = {"offline/nll_per_token": _nll(scorer, policy, better)}
    pairs = [row for row in material.rows if isinstance(row, Preference)]
    if pairs:
        sides = (
            [plain_sample(str(n), material.replies[row][which]) for n, row in enumerate(pairs)]
            for which in (0, 1)
        )
        chosen, rejected = (scorer.log_ratios(s, policy=policy, base=base) for s in sides)
        margins = [good - bad for good, bad in zip(chosen, rejected, strict=True)]
        found["offline/margin"] = fmean(margins)
        found["offline/accuracy"] = fmean(0.5 * ((m > 0) + (m >= 0)) for m in margins)
    return found


def _nll(scorer: Scorer, policy: Model, samples: Sequence[Sample]) -> float:
    scored = scorer.score(policy, samples)
    total = sum(float(one.logprobs.sum()) for one in scored)
    return -total / sum(len(one.logprobs) for one in scored)
