"""Data sets as files of JSON lines, whichever shape each line has.

Invariant: a line that is no JSON or of no known shape stops the reading and is named; one that
nobody can learn from, also one reply of several in a line, is left out and counted by reason.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clawjax.data.formats import parts_of, rows_of
from clawjax.data.preferences import Provenance, Row, RowError
from clawjax.errors import DataError

__all__ = ["DataSet", "read_rows", "write_lines", "write_new"]


@dataclass(frozen=True, slots=True)
class DataSet:
    """What files hold."""

    rows: tuple[Row, ...]
    skipped: Mapping[str, int] = field(default_factory=dict)
    """Lines, and replies of a line that holds several, that nobody can learn from, by reason."""


def read_rows(files: Iterable[Path], *, provenance: Provenance = Provenance.HUMAN) -> DataSet:
    """All rows of several files, in order.

    Args:
        files: of JSON lines.
        provenance: of lines that do not say who judged.

    Raises:
        DataError: a file cannot be read, or a line is of no known shape; it is named.
    """
    rows: list[Row] = []
    skipped: Counter[str] = Counter()
    for file in files:
        for number, form in _lines(file):
            try:
                rows += _useful(form, provenance, f"{file.name}:{number}", skipped)
            except DataError as error:
                msg = f"{file}, line {number}: {error}"
                raise DataError(msg) from error
            except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
                msg = f"{file}, line {number} lacks or misspells something: {error!r}"
                raise DataError(msg) from error
    return DataSet(tuple(rows), dict(skipped))


def _useful(
    form: Mapping[str, Any], provenance: Provenance, source: str, skipped: Counter[str]
) -> Iterator[Row]:
    """What can be learnt from a line; what cannot is counted in `skipped`."""
    for part in parts_of(form):
        try:
            yield from rows_of(part, provenance=provenance, source=source)
        except RowError as error:
            skipped[error.reason] += 1


def write_lines(out: Path, lines: Iterable[Mapping[str, Any]]) -> None:
    """Write one JSON object per line, as `write_new`."""
    write_new(out, (json.dumps(line, ensure_ascii=False) + "\n" for line in lines))


def write_new(out: Path, texts: Iterable[str]) -> None:
    """Write a new file that only its owner may read: it holds what people said.

    Where that is broken off no file is left, as a part of it would pass for all.

    Raises:
        DataError: it is there already, or cannot be made.
    """
    try:
        descriptor = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with open(descriptor, "w", encoding="utf-8") as stream:
                stream.writelines(texts)
        except BaseException:
            out.unlink(missing_ok=True)
            raise
    except OSError as error:
        msg = f"{out} cannot be written ({error.strerror}): name a new file"
        raise DataError(msg) from error


def _lines(file: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    try:
        with file.open(encoding="utf-8-sig") as stream:  # Windows marks its files
            for number, line in enumerate(stream, start=1):
                if line.strip():
                    yield number, _object(file, number, line)
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{file} cannot be read ({error}): name a file of JSON lines"
        raise DataError(msg) from error


def _object(file: Path, number: int, line: str) -> Mapping[str, Any]:
    try:
        form = json.loads(line)
    except (ValueError, RecursionError) as error:
        msg = f"{file}, line {number} is no JSON: {error}"
        raise DataError(msg) from error
    if "\\ud" in line.lower() and _has_half_a_pair(form):
        msg = f"{file}, line {number} has half of a surrogate pair, as of an emoji: remove it"
        raise DataError(msg)
    if not isinstance(form, Mapping):
        msg = f"{file}, line {number} is a {type(form).__name__}: it has to be an object"
        raise DataError(msg)
    return form


def _has_half_a_pair(form: object) -> bool:
    try:
        json.dumps(form, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False
