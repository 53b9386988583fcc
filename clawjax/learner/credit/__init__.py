"""From verdicts to per-token credit; one short file per algorithm."""

from __future__ import annotations

from functools import partial

from clawjax.config import ObjectiveConfig
from clawjax.errors import ConfigError
from clawjax.learner.credit.base import Credited, CreditFunction, CreditState, ScoredTurn
from clawjax.learner.credit.binary_rl import binary_rl
from clawjax.learner.credit.combine import combine

__all__ = [
    "CreditFunction",
    "CreditState",
    "Credited",
    "ScoredTurn",
    "build_credit",
    "combine",
]


def build_credit(config: ObjectiveConfig) -> CreditFunction:
    """The credit function that the configuration names.

    Raises:
        ConfigError: unknown name.
    """
    if config.name == "binary_rl":
        return partial(binary_rl, config=config)
    msg = f"objective.name={config.name!r} has no credit function: use binary_rl"
    raise ConfigError(msg)
