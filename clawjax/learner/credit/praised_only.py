"""Credit of imitation: praised replies count in full, all others not at all.

What is left of learning from people when complaints are thrown away; the baseline to beat.
"""

from __future__ import annotations

from collections.abc import Sequence

from clawjax.learner.credit.base import AdmittedTurn, Credited, CreditState, LogRatios, per_token

__all__ = ["praised_only"]


def praised_only(
    turns: Sequence[AdmittedTurn], state: CreditState, _log_ratios: LogRatios
) -> Credited:
    """`A_t = 1` where the score is positive, no credit elsewhere."""
    values = (1.0 if (admitted.score or 0.0) > 0 else None for admitted in turns)
    return Credited(per_token(turns, values), state)
