"""The policy as an agent of suites: its weights behind an endpoint, as long as it is measured."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from clawjax.config import RunConfig
from clawjax.config.checks import require
from clawjax.engine.embedded import EmbeddedEngine
from clawjax.models.load import LoadedModel, load_model
from clawjax.runtime.build import api_key, open_log, use_compilation_cache
from clawjax.runtime.endpoint import build_app
from clawjax.runtime.loopback import serving
from clawjax.runtime.paths import RunPaths
from clawjax.weights import DirectoryWeightStore

__all__ = ["Served", "serving_policy"]


class Served(NamedTuple):
    """Where the policy answers."""

    base_url: str
    model: str
    key: str
    version: int | None


@asynccontextmanager
async def serving_policy(config: RunConfig, paths: RunPaths) -> AsyncIterator[Served]:
    """A gateway of its own over the weights; every turn it logs is a side turn.

    Raises:
        ConfigError: no such run or model.
        StoreError: no such version.
    """
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
        yield Served(base_url, config.model.name, key, engine.status().version)


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
