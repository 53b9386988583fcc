"""From the configuration to the agent that a suite measures."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from clawjax.config import AgentConfig, RunConfig
from clawjax.config.checks import require
from clawjax.config.secrets import read_key
from clawjax.evals.agents.endpoint import Sampling, open_endpoint
from clawjax.evals.agents.scripted import (
    RandomAgent,
    exploit_agent,
    noop_agent,
    oracle_agent,
    replay_agent,
)
from clawjax.evals.harness.protocols import Agent, Suite
from clawjax.evals.harness.store import EpisodeStore

__all__ = ["Measured", "open_agents", "scripted_agent"]


class Measured(NamedTuple):
    """Where the policy or another endpoint answers; for scripted agents there is none."""

    config: AgentConfig
    base_url: str = ""
    model: str = ""
    key: str = "none"
    version: int | None = None

    @asynccontextmanager
    async def agent(self, suite: Suite) -> AsyncIterator[Agent]:
        """The agent for one suite.

        Raises:
            ConfigError: an exploit that the suite does not have, or a replay of nothing.
        """
        config = self.config
        if not self.base_url:
            yield scripted_agent(config, suite)
            return
        sampling = Sampling(config.temperature, config.max_tokens, config.uses_tools)
        default = self.model if self.version is None else f"{self.model}@{self.version}"
        async with open_endpoint(
            name=config.name or default,
            base_url=self.base_url,
            model=self.model,
            sampling=sampling,
            api_key=self.key,
            timeout_s=config.timeout_s,
            retries=config.retries,
        ) as agent:
            yield agent


@asynccontextmanager
async def open_agents(config: RunConfig) -> AsyncIterator[Measured]:
    """Serve the policy where it is the one that is measured, as long as the context lasts.

    Raises:
        ConfigError: no such run or model.
        StoreError: no such version.
    """
    agent = config.agent
    if agent.kind == "endpoint":
        key = read_key(agent.api_key_env) or "none"
        yield Measured(agent, agent.base_url, agent.model or "", key)
    elif agent.kind == "policy":
        from clawjax.runtime.policy_agent import serving_policy  # jax, which others do without

        async with serving_policy(config) as served:
            yield Measured(agent, *served)
    else:
        yield Measured(agent)


def scripted_agent(config: AgentConfig, suite: Suite) -> Agent:
    """One that asks no endpoint.

    Raises:
        ConfigError: an exploit that the suite does not have, or a replay of nothing.
    """
    match config.kind:
        case "oracle":
            return oracle_agent(suite)
        case "noop":
            return noop_agent(suite)
        case "random":
            return RandomAgent(suite)
        case "exploit":
            return exploit_agent(suite, config.exploit or "")
        case _:
            recorded = EpisodeStore(Path(config.replay or "")).trajectories()
            require(
                bool(recorded),
                f"agent.replay={config.replay} has no trajectory: name a suite's folder in a run",
            )
            return replay_agent(recorded.values(), config.name or "replay")
