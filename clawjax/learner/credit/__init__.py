"""From verdicts to per-token credit; one short file per algorithm."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from clawjax.config import ObjectiveConfig, PolicyLoss
from clawjax.learner.credit.base import (
    AdmittedTurn,
    Credited,
    CreditFunction,
    CreditState,
    LogRatios,
    by_user,
)
from clawjax.learner.credit.binary_rl import binary_rl
from clawjax.learner.credit.dpo import dpo
from clawjax.learner.credit.own import build_own_credit
from clawjax.learner.credit.praised_only import praised_only
from clawjax.learner.credit.stepwise import stepwise

__all__ = [
    "AdmittedTurn",
    "CreditFunction",
    "CreditState",
    "Credited",
    "LogRatios",
    "build_credit",
    "by_user",
]


def build_credit(config: ObjectiveConfig) -> CreditFunction:
    """What turns scores into advantages; hints become advantages on the device.

    Raises:
        ConfigError: a function of one's own that is not there, or does not take its options.
    """
    if not config.uses_scores:
        return _no_credit
    if config.credit.is_own:
        return build_own_credit(config.credit)
    if config.policy_loss is PolicyLoss.sft:
        return praised_only
    if config.is_dpo:
        return partial(dpo, config=config.dpo)
    return partial(stepwise if config.steps.is_on else binary_rl, config=config)


def _no_credit(turns: Sequence[AdmittedTurn], state: CreditState, _: LogRatios) -> Credited:
    """Scores only tell what was praised: nothing is credited for them."""
    return Credited((None,) * len(turns), state)
