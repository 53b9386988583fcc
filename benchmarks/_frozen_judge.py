"""A small model as the judge: behind an endpoint of its own, frozen at version 0."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from _config import composed

from clawjax.config.databases import file_url
from clawjax.engine.embedded import EmbeddedEngine
from clawjax.models.load import load_model
from clawjax.runtime.build import open_log
from clawjax.runtime.endpoint import build_app
from clawjax.runtime.loopback import serving
from clawjax.weights import DirectoryWeightStore

__all__ = ["frozen_judge"]


@asynccontextmanager
async def frozen_judge(*overrides: str) -> AsyncIterator[str]:
    """Its base URL, e.g. `http://127.0.0.1:41234/v1`; nobody trains it.

    Args:
        overrides: of the configuration, e.g. `model=tiny`.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        own_log = f"log.url={file_url(folder / 'turns.db')}"
        config = composed(folder, *overrides, own_log, root="evaluate")
        model = load_model(config.model, seed=0)
        log = open_log(config.log)
        engine = await EmbeddedEngine.start(
            model, config.engine, DirectoryWeightStore(folder / "weights")
        )
        try:
            app = build_app(config, engine, model.tokenizer, log, on_linked=lambda: None)
            async with serving(app) as url:
                yield url
        finally:
            await engine.aclose()
            log.close()
