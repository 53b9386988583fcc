"""From verdicts to per-token credit; one short file per algorithm."""

from __future__ import annotations

from functools import partial

from clawjax.config import ObjectiveConfig, PolicyLoss
from clawjax.learner.credit.base import AdmittedTurn, Credited, CreditFunction, CreditState
from clawjax.learner.credit.binary_rl import binary_rl
from clawjax.learner.credit.combine import combine
from clawjax.learner.credit.praised_only import praised_only

__all__ = [
    "AdmittedTurn",
    "CreditFunction",
    "CreditState",
    "Credited",
    "build_credit",
    "combine",
]


def build_credit(config: ObjectiveConfig) -> CreditFunction:
    """What turns scores into advantages; hints become advantages on the device."""
    if config.policy_loss is PolicyLoss.sft:
        return praised_only
    return partial(binary_rl, config=config)
