"""The configuration that a run has kept in its folder, and the address that it serves."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from yaml import YAMLError

from clawjax.config import RunConfig, to_run_config
from clawjax.config.hosts import url_of
from clawjax.errors import ConfigError

__all__ = ["base_url", "kept_config", "other_run", "read_health"]

_TIMEOUT_S = 3.0


def kept_config(run: Path) -> RunConfig:
    """What the run was started with.

    Raises:
        ConfigError: the folder has none, or one of another version of clawjax.
    """
    file = run / "config.yaml"
    if not file.is_file():
        msg = f"there is no {file}: name the folder of a run that was started, e.g. runs/serve"
        raise ConfigError(msg)
    try:
        loaded = OmegaConf.load(file)
    except (YAMLError, OSError) as error:
        msg = f"{file} cannot be read: mend it, or start the run again, which writes it\n{error}"
        raise ConfigError(msg) from error
    if not isinstance(loaded, DictConfig):
        msg = f"{file} holds no settings: start the run again, which writes it"
        raise ConfigError(msg)
    try:
        return to_run_config(loaded)
    except ConfigError as error:
        msg = f"{file}: {error}"
        raise ConfigError(msg) from error


def base_url(config: RunConfig) -> str:
    """Where this machine reaches the endpoint, without a path."""
    return url_of(config.gateway.host, config.gateway.port)


def read_health(config: RunConfig) -> dict[str, Any] | None:
    """What `/healthz` says; None where nobody who speaks so answers within seconds."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{base_url(config)}/healthz", timeout=_TIMEOUT_S) as answer:
            body = answer.read()
    except urllib.error.HTTPError as error:  # 503: it is there, its engine is not
        body = error.read()
    except (OSError, http.client.HTTPException):
        return None
    try:
        health = json.loads(body)
    except ValueError:
        return None
    return health if isinstance(health, dict) and "loops" in health else None


def other_run(health: Mapping[str, Any], config: RunConfig) -> str | None:
    """Whose health it is, where it is not this run's: ports are used again."""
    name = health.get("run") or config.run.name
    return None if name == config.run.name else name
