"""What every child process does first: read its configuration, set up logging, watch its parent.

The configuration arrives on standard input, so that a password in it is on no command line, in no
environment and in no file.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from omegaconf import OmegaConf

from clawjax.config import RunConfig, to_run_config
from clawjax.errors import ClawError, ConfigError
from clawjax.runtime.paths import RunPaths

__all__ = ["configure_logging", "encode_config", "parent_is_alive", "run_child"]

_PARENT = os.getppid()
EXIT_CONFIG = 2


def encode_config(config: RunConfig) -> str:
    """One line of JSON for a child's standard input."""
    container = OmegaConf.to_container(
        OmegaConf.structured(dataclasses.replace(config)), resolve=True, enum_to_str=True
    )
    return json.dumps(container)


def parent_is_alive() -> bool:
    """Whether the process that started this one still runs; a child does not outlive it."""
    return os.getppid() == _PARENT


def configure_logging(file: Path | None = None) -> None:
    """Plain lines to `file`, or to standard error, which the supervisor sends to a file."""
    handler = logging.StreamHandler() if file is None else logging.FileHandler(file)
    logging.basicConfig(
        level=os.environ.get("CLAWJAX_LOG_LEVEL", "INFO"),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        handlers=[handler],
        force=True,
    )
    for noisy in ("httpx", "httpx2", "httpcore", "jax", "absl", "orbax", "uvicorn.access"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def run_child(body: Callable[[RunConfig, RunPaths], None]) -> None:
    """Run a process's body; exit 2 where starting it again would not help."""
    configure_logging()
    try:
        config = to_run_config(json.loads(sys.stdin.readline()))
        body(config, RunPaths(Path(config.run.dir)))
    except ConfigError as error:
        sys.stderr.write(f"Configuration error: {error}\n")
        sys.exit(EXIT_CONFIG)
    except ClawError as error:
        traceback.print_exc()
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        sys.exit(1)
