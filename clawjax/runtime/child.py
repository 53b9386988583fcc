"""What every child process does first: read its configuration, set up logging, watch its parent.

The configuration arrives on standard input, so that a password in it is on no command line, in no
environment and in no file.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import NoReturn

from clawjax.config import RunConfig, to_run_config
from clawjax.config.writing import written
from clawjax.errors import ClawError, ConfigError, LearnerError, LogError, StoreError, WireError
from clawjax.runtime.logs import FORMATS, JsonLines, PlainLines
from clawjax.runtime.paths import RunPaths

__all__ = [
    "EXIT_CONFIG",
    "EXIT_DISTRUST",
    "EXIT_STORAGE",
    "PARENT_PID",
    "configure_logging",
    "encode_config",
    "log_what_nobody_catches",
    "parent_is_alive",
    "run_child",
]

logger = logging.getLogger(__name__)

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
    return json.dumps(written(config))


def parent_is_alive() -> bool:
    """Whether the process that started this one still runs; a child does not outlive it."""
    return os.getppid() == _PARENT


def configure_logging(file: Path | None = None) -> None:
    """Lines to `file`, or to standard error, which the supervisor sends to a file."""
    handler = logging.StreamHandler() if file is None else logging.FileHandler(file)
    handler.setFormatter(_log_format()())
    level = os.environ.get("CLAWJAX_LOG_LEVEL", "INFO")
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for noisy in ("httpx", "httpx2", "httpcore", "jax", "absl", "orbax", "uvicorn.access"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def run_child(body: Callable[[RunConfig, RunPaths], None]) -> None:
    """Run a process's body; exit 2 or 3 where starting it again would not help, 4 where later."""
    configure_logging()
    log_what_nobody_catches()
    try:
        config = to_run_config(json.loads(sys.stdin.readline()))
        body(config, RunPaths(Path(config.run.dir)))
    except ConfigError as error:
        _end(f"Configuration error: {error}", EXIT_CONFIG)
    except LearnerError as error:
        _end(str(error), EXIT_DISTRUST)
    except (LogError, StoreError) as error:
        _end(str(error), EXIT_STORAGE)
    except Exception as error:
        logger.error("this process ends", exc_info=error)
        # The text of an unexpected one may be anything, and of a client's fault what it has said.
        is_told = isinstance(error, ClawError) and not isinstance(error, WireError)
        name = type(error).__name__
        _end(f"{name}: {error}" if is_told else f"ended by an unexpected {name}", 1)


def log_what_nobody_catches() -> None:
    """Have exceptions of threads and destructors logged in outline, as all others are.

    Python itself would write them to standard error with their texts.
    """

    def in_thread(told: threading.ExceptHookArgs) -> None:
        if told.exc_value is not None and not isinstance(told.exc_value, SystemExit):
            name = None if told.thread is None else told.thread.name
            logger.error("thread %s has ended", name, exc_info=told.exc_value)

    def in_destructor(told: sys.UnraisableHookArgs) -> None:
        logger.error("an exception could not be raised", exc_info=told.exc_value)

    def in_main(_: type[BaseException], error: BaseException, __: TracebackType | None) -> None:
        logger.critical("this process ends", exc_info=error)

    threading.excepthook, sys.unraisablehook, sys.excepthook = in_thread, in_destructor, in_main


def _end(words: str, code: int) -> NoReturn:
    """Leave; the last line of the log is what the supervisor tells."""
    if _log_format() is JsonLines:
        logger.error("%s", words)
    else:
        sys.stderr.write(f"{words}\n")
    sys.exit(code)


def _log_format() -> type[logging.Formatter]:
    return FORMATS.get(os.environ.get("CLAWJAX_LOG_FORMAT", ""), PlainLines)
