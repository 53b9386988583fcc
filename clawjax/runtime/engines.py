"""Who samples: the embedded engine, or servers.

The one place that knows both. jax is imported only where the embedded engine is used.
"""

from __future__ import annotations

import asyncio
import os

from clawjax.config import RunConfig
from clawjax.config.secrets import read_key
from clawjax.engine.sglang.courier import DeliveryCourier
from clawjax.engine.sglang.directories import ModelDirectories
from clawjax.engine.sglang.start import start_engine
from clawjax.models.load import load_tokenizer, open_source
from clawjax.models.tokenizer import ChatTokenizer
from clawjax.protocols import Engine, WeightStore
from clawjax.runtime.build import use_compilation_cache
from clawjax.runtime.paths import RunPaths

__all__ = ["open_engine"]


async def open_engine(
    config: RunConfig, paths: RunPaths, store: WeightStore
) -> tuple[Engine, ChatTokenizer]:
    """Start the engine that `engine.kind` names; whoever gets it closes it.

    Raises:
        ConfigError: the model cannot be read, or servers have another.
        EngineError: it does not start.
    """
    if config.engine.kind == "sglang":
        return await _open_sglang(config, paths, store)
    return await _open_embedded(config, store)


async def _open_embedded(config: RunConfig, store: WeightStore) -> tuple[Engine, ChatTokenizer]:
    from clawjax.engine.embedded import EmbeddedEngine
    from clawjax.models.devices import expects_tpu, say_devices
    from clawjax.models.load import load_model

    use_compilation_cache(config)
    say_devices("the engine", used=1, is_tpu_expected=expects_tpu(os.environ))
    model = await asyncio.to_thread(load_model, config.model, seed=config.run.seed)
    return await EmbeddedEngine.start(model, config.engine, store), model.tokenizer


async def _open_sglang(
    config: RunConfig, paths: RunPaths, store: WeightStore
) -> tuple[Engine, ChatTokenizer]:
    sglang = config.engine.sglang
    source = await asyncio.to_thread(open_source, config.model, seed=config.run.seed)
    tokenizer, architecture, _ = await asyncio.to_thread(load_tokenizer, config.model)
    directories = ModelDirectories(paths.served, source, keep=sglang.delivery.keep)
    engine = await start_engine(
        config.engine,
        config.model,
        tokenizer=tokenizer,
        vocab_size=architecture.vocab_size,
        base_id=await asyncio.to_thread(source.base_id),
        new_courier=lambda: DeliveryCourier(directories, sglang.delivery),
        store=store,
        api_key=read_key(sglang.api_key_env),
        logs=paths.process_log("engine").parent,
    )
    return engine, tokenizer
