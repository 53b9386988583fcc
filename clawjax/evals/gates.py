"""What every suite has to show before its scores mean anything.

The oracle solves everything; doing nothing, odd arguments and cheating solve nothing, acting at
random no more than the suite says. Invariant: a gate that could not be measured is closed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from clawjax.evals.agents.breaking import odd_agent
from clawjax.evals.agents.scripted import (
    RandomAgent,
    exploit_agent,
    noop_agent,
    oracle_agent,
)
from clawjax.evals.harness.process import EnvironmentPool
from clawjax.evals.harness.protocols import Agent, Suite
from clawjax.evals.harness.runner import Selection, run
from clawjax.evals.harness.store import EpisodeStore

__all__ = ["Gate", "gates"]


class Gate(NamedTuple):
    """One agent whose score is known beforehand."""

    suite: str
    agent: str
    score: float | None
    """Mean; None where an episode is unscored."""
    target: float
    """The oracle has to reach it, all others have to stay at or below it."""
    episodes: int

    @property
    def holds(self) -> bool:
        """Whether it does."""
        if self.score is None:
            return False
        return self.score >= self.target if self.agent == "oracle" else self.score <= self.target


async def gates(
    suite: Suite,
    folder: Path,
    *,
    limit: int | None = None,
    others: int | None = None,
    concurrency: int = 2,
) -> AsyncIterator[Gate]:
    """Measure all gates of a suite, all in the same environments, one agent after the other.

    Args:
        suite: whose.
        folder: where the episodes are kept.
        limit: so many tasks, chosen as `Selection` does; None: all.
        others: so many for everybody but the oracle; None: as many.
        concurrency: episodes at once.
    """
    async with EnvironmentPool.open(suite.launch, concurrency) as pool:
        for agent, target in _agents(suite):
            store = EpisodeStore(folder / suite.name / agent.name.replace(":", "_"))
            tasks = limit if agent.name == "oracle" else others or limit
            episodes = await run(
                suite, agent, store, Selection(limit=tasks), concurrency=concurrency, pool=pool
            )
            scores = [each.score.value for each in episodes]
            known = [score for score in scores if score is not None]
            mean = fmean(known) if known and len(known) == len(scores) else None
            yield Gate(suite.name, agent.name, mean, target, len(scores))


def _agents(suite: Suite) -> list[tuple[Agent, float]]:
    return [
        (oracle_agent(suite), 1.0),
        (noop_agent(suite), 0.0),
        (RandomAgent(suite), suite.chance),
        (odd_agent(), 0.0),
        *((exploit_agent(suite, name), 0.0) for name in suite.exploits),
    ]
