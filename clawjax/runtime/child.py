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
from clawjax.errors import ClawError, ConfigError, LearnerError, LogError, StoreError
from clawjax.runtime.logs import FORMATS, PlainLines
from clawjax.runtime.paths import RunPaths

__all__ = [
    "EXIT_CONFIG",
    "EXIT_DISTRUST",
    "EXIT_STORAGE",
    "PARENT_PID",
    "configure_logging",
    "encode_config",
    "parent_is_alive",
    "run_child",
]

PARENT_PID = "CLAWJAX_PARENT_PID"
"""Environment variable by which a supervisor tells its children who it is."""
_PARENT = int(os.environ.get(PARENT_PID) or os.getppid())
EXIT_CONFIG = 2
EXIT_DISTRUST = 3
"""A training step is not to be trusted: trying again would give the same."""
EXIT_STORAGE = 4
"""The turn log or the disk failed: starting again helps, once that is over."""


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
    """Lines to `file`, or to standard error, which the supervisor sends to a file."""
    handler = logging.StreamHandler() if file is None else logging.FileHandler(file)
    handler.setFormatter(FORMATS.get(os.environ.get("CLAWJAX_LOG_FORMAT", ""), PlainLines)())
    level = os.environ.get("CLAWJAX_LOG_LEVEL", "INFO")
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for noisy in ("httpx", "httpx2", "httpcore", "jax", "absl", "orbax", "uvicorn.access"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def run_child(body: Callable[[RunConfig, RunPaths], None]) -> None:
    """Run a process's body; exit 2 or 3 where starting it again would not help, 4 where later."""
    configure_logging()
    try:
        config = to_run_config(json.loads(sys.stdin.readline()))
        body(config, RunPaths(Path(config.run.dir)))
    except ConfigError as error:
        sys.stderr.write(f"Configuration error: {error}\n")
        sys.exit(EXIT_CONFIG)
    except LearnerError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(EXIT_DISTRUST)
    except (LogError, StoreError) as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(EXIT_STORAGE)
    except ClawError as error:
        traceback.print_exc()
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        sys.exit(1)
    except Exception as error:  # its text may be anything: the last line, which is told, has none
        traceback.print_exc()
        sys.stderr.write(f"ended by an unexpected {type(error).__name__}\n")
        sys.exit(1)
