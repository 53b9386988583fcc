"""The turn log that a command reads: of a run's folder, or by its address."""

from __future__ import annotations

import argparse
from pathlib import Path

from clawjax.config.databases import file_url
from clawjax.errors import LogError
from clawjax.log.connection import parse_url
from clawjax.log.reading import open_to_read
from clawjax.log.store import SqlTurnLog

__all__ = ["LOG_FILE", "add_log_arguments", "open_log"]

LOG_FILE = "turns.db"
"""Of a run's folder."""


def add_log_arguments(parser: argparse.ArgumentParser) -> None:
    """`RUN` or `--log URL`."""
    parser.add_argument("run", nargs="?", type=Path, help="the run's folder, e.g. runs/serve")
    parser.add_argument("--log", metavar="URL", help="the turn log, where it is not in that folder")


def open_log(options: argparse.Namespace, *, is_read_only: bool = False) -> SqlTurnLog:
    """The log that was named.

    Raises:
        LogError: none was named, it does not exist, or it cannot be opened.
    """
    url = _url(options)
    return open_to_read(url) if is_read_only else SqlTurnLog.open(url)


def _url(options: argparse.Namespace) -> str:
    if options.log is not None:
        _check_file(options.log)
        return options.log
    if options.run is None:
        msg = "no turn log is named: give the run's folder, e.g. runs/serve, or --log URL"
        raise LogError(msg)
    file = options.run / LOG_FILE
    if not file.is_file():
        msg = f"there is no turn log {file}: give the folder of a run that has served, or --log URL"
        raise LogError(msg)
    return file_url(file)


def _check_file(url: str) -> None:
    """SQLite would make what is not there.

    Raises:
        LogError: no such file, or no such address.
    """
    parsed = parse_url(url)
    file = parsed.database or ""
    is_path = parsed.get_backend_name() == "sqlite" and not file.startswith("file:")
    if is_path and not Path(file).is_file():
        msg = f"there is no turn log {file!r}: give --log the URL of one that a run has written"
        raise LogError(msg)
