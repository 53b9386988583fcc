"""From the configuration to the agent that a suite measures."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from clawjax.config import AgentConfig, RunConfig
from clawjax.config.checks import require
from clawjax.engine.embedded import EmbeddedEngine
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
from clawjax.models.load import LoadedModel, load_model
from clawjax.runtime.build import api_key, build_app, open_log, use_compilation_cache
from clawjax.runtime.loopback import serving
from clawjax.runtime.paths import RunPaths
from clawjax.weights import DirectoryWeightStore

__all__ = ["Measured", "open_agents"]


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
            yield _scripted(config, suite)
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
        ) as agent:
            yield agent


@asynccontextmanager
async def open_agents(config: RunConfig, paths: RunPaths) -> AsyncIterator[Measured]:
    """Serve the policy where it is the one that is measured, as long as the context lasts.

    Raises:
        ConfigError: no such run or model.
        StoreError: no such version.
    """
    agent = config.agent
    if agent.kind == "endpoint":
        key = os.environ.get(agent.api_key_env) or "none"
        yield Measured(agent, agent.base_url, agent.model or "", key)
    elif agent.kind == "policy":
        async with _policy(config, paths) as measured:
            yield measured
    else:
        yield Measured(agent)


@asynccontextmanager
async def _policy(config: RunConfig, paths: RunPaths) -> AsyncIterator[Measured]:
    """A gateway of its own over the weights; every turn it logs is a side turn."""
    require(
        config.engine.kind == "embedded",
        f"engine.kind={config.engine.kind} is not served for agent=policy: use engine=embedded, or "
        "agent=endpoint with the address of a running gateway",
    )
    use_compilation_cache(config)
    model = load_model(config.model, seed=config.run.seed)
    async with AsyncExitStack() as stack:
        engine = await _engine(stack, config, model)
        log = open_log(config.log)
        stack.callback(log.close)
        app = build_app(config, engine, model.tokenizer, log, on_linked=lambda: None)
        base_url = await stack.enter_async_context(serving(app))
        key = api_key(config.gateway) or "none"
        yield Measured(config.agent, base_url, config.model.name, key, engine.status().version)


async def _engine(stack: AsyncExitStack, config: RunConfig, model: LoadedModel) -> EmbeddedEngine:
    folder, version = config.agent.run, config.agent.version
    if folder is None:
        engine = await EmbeddedEngine.start(model, config.engine, None)
        stack.push_async_callback(engine.aclose)
        return engine
    weights = RunPaths(Path(folder)).weights
    require(weights.is_dir(), f"agent.run={folder} holds no weights: name the folder of a run")
    store = DirectoryWeightStore(weights)
    latest = store.latest()
    wanted = latest.version if version is None and latest is not None else version or 0
    engine = await EmbeddedEngine.start(model, config.engine, store)
    stack.push_async_callback(engine.aclose)
    if wanted != engine.status().version:  # an engine that cannot adopt serves the base model
        await engine.swap(store.load(wanted)[0])
    return engine


def _scripted(config: AgentConfig, suite: Suite) -> Agent:
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
