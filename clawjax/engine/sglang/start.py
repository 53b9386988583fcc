"""From configuration to a running engine: attach or launch, probe, bring the weights, watch.

Invariant: when `start_engine` returns, at least one server is in rotation, and every server there
has confirmed the weights that the store points to, or, where no server takes those, the ones that
it has.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path, PurePosixPath

from clawjax.config import EngineConfig, LaunchConfig, ModelConfig, SglangConfig
from clawjax.config.checks import require
from clawjax.config.hosts import is_loopback
from clawjax.engine.sglang.engine import SglangEngine
from clawjax.engine.sglang.http import Connections, ServerClient
from clawjax.engine.sglang.launch import Launched, server_url
from clawjax.engine.sglang.pool import Courier, Pool, Server
from clawjax.engine.sglang.probe import Expected
from clawjax.engine.sglang.rotation import Rotation
from clawjax.engine.sglang.router import set_workers
from clawjax.errors import ConfigError, EngineError, StoreError
from clawjax.models.tokenizer import ChatTokenizer
from clawjax.protocols import BASE_KIND, WeightStore, WeightVersion

__all__ = ["start_engine"]

logger = logging.getLogger(__name__)

_POLL_S = 0.5


async def start_engine(
    config: EngineConfig,
    model: ModelConfig,
    *,
    tokenizer: ChatTokenizer,
    vocab_size: int,
    base_id: str,
    new_courier: Callable[[], Courier],
    store: WeightStore | None,
    api_key: str | None,
    logs: Path,
) -> SglangEngine:
    """Attach to servers or launch them, and bring them what is to be served.

    Weights that are damaged are logged, and the base model is served.

    Args:
        config: `kind: sglang`.
        model: what the learner trains.
        tokenizer: its tokenizer.
        vocab_size: rows of its embedding.
        base_id: what tells its weights from others.
        new_courier: makes what brings weights to one server.
        store: where they are; None: only the base model is served.
        api_key: the servers' bearer key, if they want one.
        logs: where launched servers write.

    Raises:
        ConfigError: a server serves something else, or cannot be started.
        EngineError: none is there in time.
    """
    connections = Connections.open(config.sglang, api_key)
    launched: list[Launched] = []
    try:
        pool = _pool(config.sglang, connections)
        expected = Expected(
            names=_names(config.sglang, model),
            context_length=model.context_length,
            vocab_size=vocab_size,
            tokenizer=tokenizer,
            temperature=config.temperature,
            check_template=config.sglang.check_template,
        )
        base = WeightVersion(0, Path(), None, 0, base_id, BASE_KIND)
        wanted = await _latest(store) or base
        rotation = Rotation(pool, config.sglang, expected, new_courier, wanted)
        await _launch(config.sglang.launch, model, pool, logs, launched, api_key)
        await _first_look(config.sglang, pool, rotation, base, launched)
        if pool.router is not None:
            await _introduce(config.sglang, pool, pool.router)
    except BaseException:
        await asyncio.gather(*(one.aclose() for one in launched))
        await connections.aclose()
        raise
    return SglangEngine(config, expected, pool, rotation, connections, launched)


def _pool(config: SglangConfig, connections: Connections) -> Pool:
    launch = config.launch
    urls = config.urls or [server_url(launch, index) for index in range(launch.servers)]
    router = config.router
    return Pool(
        config,
        [Server(ServerClient(connections, url)) for url in urls],
        None if router is None else Server(ServerClient(connections, router)),
    )


def _names(config: SglangConfig, model: ModelConfig) -> frozenset[str]:
    if config.model is not None:
        return frozenset([config.model])
    launched = config.launch.model or model.path
    return frozenset({model.name, model.path, launched, PurePosixPath(model.path).name})


async def _latest(store: WeightStore | None) -> WeightVersion | None:
    try:
        return None if store is None else await asyncio.to_thread(store.latest)
    except StoreError as error:
        logger.warning("serving the base model: %s", error)
        return None


async def _launch(
    config: LaunchConfig,
    model: ModelConfig,
    pool: Pool,
    logs: Path,
    launched: list[Launched],
    api_key: str | None,
) -> None:
    require(
        not config.servers or is_loopback(config.host) or api_key is not None,
        f"engine.sglang.launch.host={config.host} opens the servers to others, who need no key: "
        "set the variable of engine.sglang.api_key_env, or use 127.0.0.1",
    )
    require(
        api_key is None or config.key_by == "argument" or not _has_config_file(config),
        "engine.sglang.launch.options names --config, and a server that gets its key by a file of "
        "that name takes one file only: move what yours has into engine.sglang.launch.options, or "
        "set engine.sglang.launch.key_by=argument, which shows the key in the process list",
    )
    for index in range(config.servers):
        server = pool.servers[index]
        one = Launched(
            config,
            index,
            model=config.model or model.path,
            revision=None if config.model else model.revision,
            served_name=model.name,
            context_length=model.context_length,
            log=logs / f"server{index}.log",
            api_key=api_key,
            on_exit=partial(pool.remove, server),
        )
        launched.append(one)
        await one.start()


def _has_config_file(config: LaunchConfig) -> bool:
    return "--config" in (*config.command, *config.options)


async def _first_look(
    config: SglangConfig,
    pool: Pool,
    rotation: Rotation,
    base: WeightVersion,
    launched: Sequence[Launched],
) -> None:
    """Look at every server until those that may be expected to be there are in rotation."""
    limit_s = config.launch.start_timeout_s if launched else config.wait_for_server_s
    deadline = time.monotonic() + limit_s
    while True:
        waiting = [server for server in pool.servers if server.trouble is not None]
        await asyncio.gather(*(_look(rotation, server, base) for server in waiting))
        if not (missing := [server for server in pool.servers if server.trouble is not None]):
            return
        reasons = "; ".join(f"{server.url}: {server.trouble}" for server in missing)
        if pool.serving and (not launched or time.monotonic() > deadline):
            logger.error("starting without some of the servers: %s", reasons)
            return
        lost = [one for one in launched if one.has_given_up]
        if lost:
            msg = f"{lost[0].url} does not start, see {lost[0].log}:\n{lost[0].tail()}"
            raise ConfigError(msg)
        if time.monotonic() > deadline:
            msg = f"no server is there after {limit_s:.0f} s: {reasons}"
            raise EngineError(msg)
        await asyncio.sleep(min(config.health_interval_s, _POLL_S))


async def _introduce(config: SglangConfig, pool: Pool, router: ServerClient) -> None:
    """Tell the router its servers, as soon as it is there."""
    deadline = time.monotonic() + config.wait_for_server_s
    urls = [server.url for server in pool.serving]
    while True:
        try:
            if await set_workers(router, urls, timeout_s=config.call_timeout_s):
                return
            why = (
                f"{router.url} has not taken up its servers after {config.wait_for_server_s:.0f} s"
            )
        except EngineError as error:
            why = str(error)
        if time.monotonic() > deadline:
            raise EngineError(why)
        await asyncio.sleep(min(config.health_interval_s, _POLL_S))


async def _look(rotation: Rotation, server: Server, base: WeightVersion) -> None:
    """Look at one server; what it lacks is its `trouble`, but serving something else is fatal."""
    try:
        await rotation.look(server)
    except EngineError as error:
        server.trouble = str(error)
    except StoreError as error:
        server.trouble = str(error)
        if rotation.wanted is not base:
            logger.warning("serving the base model: %s", error)
            rotation.wanted = base
