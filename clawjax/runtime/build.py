"""Configuration to objects, for all processes alike: the learner needs no gateway for it."""

from __future__ import annotations

from pathlib import Path

from clawjax.config import GatewayConfig, LogConfig, RunConfig
from clawjax.config.secrets import read_key
from clawjax.log.store import SqlTurnLog

__all__ = ["api_key", "open_log", "use_compilation_cache"]


def open_log(config: LogConfig) -> SqlTurnLog:
    """The run's turn log.

    Raises:
        LogError: it cannot be opened.
    """
    return SqlTurnLog.open(config.url, busy_timeout_s=config.busy_timeout_s)


def api_key(config: GatewayConfig) -> str | None:
    """The key from the environment, which our own clients use; None where there is none."""
    return read_key(config.api_key_env)


def use_compilation_cache(config: RunConfig) -> None:
    """Keep compiled programs on disk, so that the next start is quick."""
    if config.engine.compilation_cache is None:
        return
    import jax

    folder = Path(config.engine.compilation_cache).expanduser()
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
