"""Judges on a turn log, as the run is configured."""

from __future__ import annotations

import asyncio
import os

from clawjax.config import RewardConfig
from clawjax.log.earlier import newest_verdicts
from clawjax.log.store import SqlTurnLog
from clawjax.protocols import Reward
from clawjax.rewards.next_state import ADAPTING, reactions_in
from clawjax.rewards.prior import FADED
from clawjax.rewards.reaction_model import Reaction
from clawjax.rewards.registry import build_rewards

__all__ = ["open_rewards"]

_MOST = 50_000
"""Verdicts that are read at a start, of all users together; a tenth of a millisecond each."""


async def open_rewards(config: RewardConfig, log: SqlTurnLog) -> tuple[Reward, ...]:
    """The configured modules, which know of earlier reactions what they knew before they ended.

    Raises:
        ConfigError: as `build_rewards`.
        LogError: the log cannot be read.
    """
    earlier = await asyncio.to_thread(_earlier, log) if config.next_state.adapts else []
    return build_rewards(config, env=os.environ, earlier=earlier)


def _earlier(log: SqlTurnLog) -> list[tuple[str, Reaction]]:
    """Whose reactions were taken for what, in order."""
    said = newest_verdicts(log, ADAPTING, of_each=FADED, limit=_MOST)
    return [(user, reaction) for user, verdict in said for reaction in reactions_in(verdict)]
