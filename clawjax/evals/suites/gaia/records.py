"""GAIA's official files as records: `metadata.jsonl`, or the `metadata.parquet` of newer copies.

Parquet is read by pyarrow, an extra (`clawjax[gaia]`), imported when such a file is read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from clawjax.errors import ConfigError, UnavailableError

__all__ = ["Records", "read_records"]

_NAMES = ("metadata.jsonl", "metadata.parquet")


class Records(NamedTuple):
    """What a folder holds."""

    entries: list[dict[str, Any]]
    version: str
    """sha256 of the file."""


def read_records(folder: Path) -> Records:
    """All questions of a folder (`2023/validation` of the data set).

    Raises:
        ConfigError: it has neither file, or one that cannot be read.
        UnavailableError: it has Parquet only, and pyarrow is not installed.
    """
    file = next((folder / name for name in _NAMES if (folder / name).exists()), None)
    if file is None:
        msg = (
            f"{folder} has no metadata.jsonl and no metadata.parquet: set suite.options.path to a "
            "folder of the official data set, e.g. .../2023/validation, or to nothing for our own "
            "questions"
        )
        raise ConfigError(msg)
    read = _lines if file.suffix == ".jsonl" else _table_reader(file)
    content = file.read_bytes()
    try:
        entries = read(content)
    except ValueError as error:  # JSON's and Arrow's
        msg = f"{file} cannot be read ({error}): fetch it again"
        raise ConfigError(msg) from error
    return Records(entries, hashlib.sha256(content).hexdigest())


def _lines(content: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in content.decode("utf-8").split("\n") if line.strip()]


def _table_reader(file: Path) -> Callable[[bytes], list[dict[str, Any]]]:
    try:
        from pyarrow import BufferReader, parquet  # pyright: ignore[reportMissingImports] - an extra
    except ImportError as missing:
        msg = f"{file} is Parquet, which needs pyarrow: pip install -e '.[gaia]'"
        raise UnavailableError(msg) from missing
    return lambda content: parquet.read_table(BufferReader(content)).to_pylist()
