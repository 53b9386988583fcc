"""Serve a model over SGLang's HTTP protocol, on this machine or for others.

    python -m clawjax.engine.server --model-path /models/Qwen3-0.6B
    CLAWJAX_API_KEY=... python -m clawjax.engine.server --model-path smollm2 --host 0.0.0.0

The API key is better given in the environment, or in a file (--config FILE.yaml), than by
--api-key, which other users of the machine can see. It is required wherever other machines could
reach the server.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from clawjax.config import EngineConfig, ModelConfig
from clawjax.config.hosts import is_loopback
from clawjax.config.secrets import read_key
from clawjax.engine.embedded import EmbeddedEngine
from clawjax.engine.server.app import create_app, new_backend
from clawjax.engine.server.backend import Settings, Startup
from clawjax.engine.server.shelf import WeightShelf
from clawjax.errors import ClawError, ConfigError
from clawjax.gateway.listening import http_server, listen
from clawjax.models.load import load_model
from clawjax.protocols import ScoreRequest
from clawjax.tasks import task_group

__all__ = ["main"]

logger = logging.getLogger(__name__)

_KEY_VARIABLE = "CLAWJAX_API_KEY"
_GRACE_S = 5
"""How long replies may go on once the server was told to stop."""


@dataclass(frozen=True, slots=True)
class Launch:
    """What the command line says."""

    model: ModelConfig
    engine: EngineConfig
    settings: Settings
    host: str
    port: int
    seed: int
    weight_version: str
    allows_adapters: bool
    api_key: str | None = field(default=None, repr=False)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until told to stop; returns the exit code, 2 for what cannot be started."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        launch = _launch(_parse(arguments))
        asyncio.run(_serve(launch))
    except ClawError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


async def _serve(launch: Launch) -> None:
    """Listen at once; answer when the engine is there."""
    startup = Startup()
    app = create_app(startup, launch.settings, launch.api_key)
    server = http_server(app, launch.host, launch.port, grace_s=_GRACE_S)
    async with task_group() as group:
        engine = group.create_task(_start(launch, startup))
        await listen(server)
        engine.cancel()


async def _start(launch: Launch, startup: Startup) -> None:
    """Have the engine ready, and keep it until this is cancelled."""
    model = await asyncio.to_thread(load_model, launch.model, seed=launch.seed)
    shelf = WeightShelf(model.base_id, launch.weight_version)
    engine = await EmbeddedEngine.start(model, launch.engine, shelf)
    try:
        if launch.engine.warm_up:  # clients ask for log-probs of prompts at once
            token = min(model.tokenizer.eos_ids)
            await engine.score(ScoreRequest("warm-up", (token,), (token,)))
        backend = new_backend(
            engine,
            model.tokenizer,
            shelf,
            launch.settings,
            allows_adapters=launch.allows_adapters,
        )
        startup.complete(backend)
        logger.info("%s answers on %s:%d", launch.model.name, launch.host, launch.port)
        await asyncio.Event().wait()
    finally:
        await engine.aclose()


def _launch(options: argparse.Namespace) -> Launch:
    """Check the options.

    Raises:
        ConfigError: a value out of range, or no key where one is needed.
    """
    key = options.api_key or read_key(_KEY_VARIABLE)
    if key is None and not is_loopback(options.host):
        msg = (
            f"--host {options.host} is reachable from other machines, so a key is needed: set "
            f"{_KEY_VARIABLE} in the environment, or use --host 127.0.0.1"
        )
        raise ConfigError(msg)
    name = options.served_model_name or options.model_path
    return Launch(
        model=ModelConfig(
            name=name,
            path=options.model_path,
            revision=options.revision,
            context_length=options.context_length,
        ),
        engine=EngineConfig(
            slots=options.max_running_requests,
            max_waiting=options.max_queued_requests,
            kept_prefixes=options.kept_prefixes,
            reuse_prefixes=not options.disable_radix_cache,
            prefill_chunk=options.chunked_prefill_size,
            weights_dtype=options.dtype,
            cache_dtype=options.kv_cache_dtype,
            warm_up=not options.skip_server_warmup,
            compilation_cache=options.compilation_cache or None,
        ),
        settings=Settings(
            model_path=options.model_path,
            model_name=name,
            max_pause_s=options.max_pause_s,
            stream_interval=options.stream_interval,
        ),
        host=options.host,
        port=options.port,
        seed=options.random_seed,
        weight_version=options.weight_version,
        allows_adapters=options.enable_lora,
        api_key=key,
    )


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    engine = EngineConfig()
    parser = argparse.ArgumentParser(
        prog="python -m clawjax.engine.server",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--model-path", required=True, help="GGUF file, Hugging Face directory or hub id, smollm2")
    add("--revision", help="of a hub id; by default its main branch")
    add("--served-model-name", help="what /v1/models calls it; by default the path")
    add("--context-length", type=int, default=2048, help="tokens of prompt and reply together")
    add("--host", default="127.0.0.1")
    add("--port", type=int, default=31000, help="default: 31000, as a gateway has 30000")
    add("--api-key", help=f"bearer key; better in {_KEY_VARIABLE}")
    add("--config", type=Path, help="YAML file with options; what is given here wins over it")
    add("--weight-version", default="default", help="what the weights are called at first")
    add("--enable-lora", action="store_true", help="take adapters by /load_lora_adapter")
    add("--max-running-requests", type=int, default=engine.slots)
    add("--max-queued-requests", type=int, default=4096, help="more are refused with 503")
    add("--kept-prefixes", type=int, default=engine.kept_prefixes)
    add("--disable-radix-cache", action="store_true", help="read every prompt from its start")
    add("--chunked-prefill-size", type=int, default=engine.prefill_chunk)
    add("--dtype", default=engine.weights_dtype, help="of the weights: float32 or bfloat16")
    add("--kv-cache-dtype", default=engine.cache_dtype, help="the same of the cache")
    add("--stream-interval", type=int, default=1, help="tokens between two events of a stream")
    add("--max-pause-s", type=float, default=660.0, help="a pause ends by itself after so long")
    add("--random-seed", type=int, default=0, help="of the weights of a random: model")
    add("--skip-server-warmup", action="store_true", help="compile when it is needed")
    add("--compilation-cache", default=engine.compilation_cache, help="empty for none")
    options = parser.parse_args(arguments)
    if options.config is None:
        return options
    parser.set_defaults(**_options_in(options.config, vars(options)))
    return parser.parse_args(arguments)


def _options_in(file: Path, known: Collection[str]) -> dict[str, object]:
    """Options of a YAML file, by the names that their values have here.

    Raises:
        ConfigError: it cannot be read, or names something else.
    """
    try:
        found = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        msg = f"--config {file} cannot be read: {error}"
        raise ConfigError(msg) from error
    if not isinstance(found, dict):
        msg = f"--config {file} has no options: write one a line, as in `context-length: 2048`"
        raise ConfigError(msg)
    options = {str(name).replace("-", "_"): value for name, value in found.items()}
    if unknown := sorted(set(options) - set(known)):
        msg = f"--config {file} names {', '.join(unknown)}: see --help for what there is"
        raise ConfigError(msg)
    return options


if __name__ == "__main__":
    sys.exit(main())
