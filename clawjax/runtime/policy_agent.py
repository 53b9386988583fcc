"""The policy as an agent of suites: its weights behind an endpoint, as long as it is measured."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import NamedTuple

from clawjax.config import RunConfig
from clawjax.engine.embedded import EmbeddedEngine
from clawjax.models.load import LoadedModel, load_model
from clawjax.runtime.agent_weights import chosen_weights, require_embedded
from clawjax.runtime.build import api_key, open_log, use_compilation_cache
from clawjax.runtime.endpoint import build_app
from clawjax.runtime.loopback import serving

__all__ = ["Served", "serving_policy"]


class Served(NamedTuple):
    """Where the policy answers."""

    base_url: str
    model: str
    key: str
    version: int | None


@asynccontextmanager
async def serving_policy(config: RunConfig) -> AsyncIterator[Served]:
    """A gateway of its own over the weights; every turn it logs is a side turn.

    Raises:
        ConfigError: no such run or model.
        StoreError: no such version.
    """
    require_embedded(config)
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
    chosen = chosen_weights(config, model.base_id)
    store = None if chosen is None else chosen.store
    engine = await EmbeddedEngine.start(model, config.engine, store)
    stack.push_async_callback(engine.aclose)
    if chosen is not None and chosen.version != engine.status().version:
        # an engine that cannot adopt serves the base model
        await engine.swap(chosen.store.load(chosen.version)[0])
    return engine
