"""The endpoint of a run: who may use it, what it is made of, and where it listens."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from starlette.applications import Starlette

from clawjax.config import GatewayConfig, RunConfig
from clawjax.config.hosts import is_loopback, port_to_listen_at
from clawjax.errors import ConfigError
from clawjax.gateway.app import GatewayDeps, create_app
from clawjax.gateway.render import Tokenizer
from clawjax.keys import KEY_FILE, KeyFile, KeyRing
from clawjax.log.forgetting import forget
from clawjax.log.store import SqlTurnLog
from clawjax.protocols import Engine
from clawjax.review.queue import ReviewQueue
from clawjax.runtime.build import api_key

__all__ = ["bind", "build_app", "open_keys"]


def open_keys(config: RunConfig) -> KeyRing:
    """The run's keys and the one from the environment; without any, loopback only is served.

    Raises:
        ConfigError: other machines could reach the endpoint and there is no key; or our own client
            would be refused; or the file of keys is damaged.
    """
    gateway, folder = config.gateway, Path(config.run.dir)
    ring = KeyRing(KeyFile(folder / KEY_FILE), secret=api_key(gateway))
    if ring.is_empty and not is_loopback(gateway.host):
        msg = (
            f"gateway.host={gateway.host} is reachable from other machines, so a key is needed: "
            f"make one with `clawjax keys create {folder} --name NAME`, set {gateway.api_key_env} "
            "in the environment, or use gateway.host=127.0.0.1"
        )
        raise ConfigError(msg)
    if config.user.enabled and ring.is_required and api_key(gateway) is None:
        msg = (
            f"{folder / KEY_FILE} has keys, and the simulated user has none: set "
            f"{gateway.api_key_env} in the environment"
        )
        raise ConfigError(msg)
    return ring


def build_app(
    config: RunConfig,
    engine: Engine,
    tokenizer: Tokenizer,
    log: SqlTurnLog,
    *,
    on_linked: Callable[[], None],
    loop_status: Callable[[], Mapping[str, object]] = dict,
    turn_counts: Callable[[], Mapping[str, object]] = dict,
    latest_metrics: Callable[[], Mapping[str, float]] = dict,
) -> Starlette:
    """The endpoint.

    Args:
        config: the whole run's.
        engine: who samples.
        tokenizer: of the same model.
        log: where turns go.
        on_linked: called when there is something new to judge.
        loop_status: the loops' states, for `/healthz`.
        turn_counts: the log's balance, for `/healthz`.
        latest_metrics: what the run's processes measured last, for `/metrics`.

    Raises:
        ConfigError: other machines could reach the endpoint and there is no key.
    """
    return create_app(
        GatewayDeps(
            engine=engine,
            tokenizer=tokenizer,
            log=log,
            config=config.gateway,
            sampling_defaults=config.engine,
            model_name=config.model.name,
            run_name=config.run.name,
            keys=open_keys(config),
            forget=lambda scope, *, session_id=None, response_id=None: forget(
                log,
                scope=scope,
                session_id=session_id,
                response_id=response_id,
                now=time.time(),
            ),
            review=ReviewQueue(log, lease_s=config.reward.human.lease_s)
            if config.reward.asks_people
            else None,
            reads_ratings=config.reward.reads_ratings,
            recalls_reactions=config.objective.recalls_reactions,
            on_linked=on_linked,
            loop_status=loop_status,
            turn_counts=turn_counts,
            latest_metrics=latest_metrics,
        )
    )


def bind(config: GatewayConfig) -> int:
    """The port that will be served; a free one where the configuration says 0.

    Raises:
        ConfigError: somebody listens there already, or the host is not ours.
    """
    try:
        return port_to_listen_at(config.host, config.port)
    except OSError as error:
        msg = (
            f"cannot listen on {config.host}:{config.port} ({error.strerror}): "
            "stop what uses the port, or set gateway.port (0 takes a free one)"
        )
        raise ConfigError(msg) from error
