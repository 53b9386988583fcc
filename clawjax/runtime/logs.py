"""How log records are written: plain lines or JSON, and in neither what people said.

Invariant: a record above DEBUG tells of an unexpected exception its kind and where it was raised,
not its message, which may quote a conversation. Messages of this project's own errors and of the
operating system's are kept: they name values, limits and files.
"""

from __future__ import annotations

import copy
import json
import logging
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime

from clawjax.errors import ClawError, WireError

__all__ = ["FORMATS", "JsonLines", "PlainLines", "message_of", "outline"]


class PlainLines(logging.Formatter):
    """For people."""

    def __init__(self) -> None:
        """Time, level, logger and message."""
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """One line, and an outline of the exception where there is one."""
        return super().format(_outlined(record))


class JsonLines(logging.Formatter):
    """For programs: one object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """`time` (UTC), `level`, `logger`, `process`, `message`, and `exception` where one was."""
        told = _outlined(record)
        entry: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "process": record.process,
            "message": told.getMessage(),
        }
        if told.exc_info:
            entry["exception"] = self.formatException(told.exc_info)
        elif told.exc_text:
            entry["exception"] = told.exc_text
        return json.dumps(entry)


FORMATS: dict[str, type[logging.Formatter]] = {"plain": PlainLines, "json": JsonLines}
"""By the value of `CLAWJAX_LOG_FORMAT`."""


def outline(error: BaseException) -> str:
    """An exception with its causes: kinds and places, and messages that quote nobody."""
    return "\n".join(_lines(error, set()))


def message_of(line: str) -> str:
    """What a line of a log says: the message where it is one of `JsonLines`, else the line."""
    try:
        entry = json.loads(line)
    except ValueError:
        return line
    is_entry = isinstance(entry, dict) and isinstance(entry.get("message"), str)
    return entry["message"] if is_entry else line


def _outlined(record: logging.LogRecord) -> logging.LogRecord:
    error = record.exc_info[1] if record.exc_info else None
    if error is None or record.levelno <= logging.DEBUG:
        return record
    told = copy.copy(record)
    told.exc_info, told.exc_text = None, outline(error)
    if record.name == "asyncio":  # shows the task from the second line on, and with it the text
        told.msg, told.args = record.getMessage().partition("\n")[0], None
    return told


def _lines(error: BaseException, seen: set[int]) -> Iterator[str]:
    seen.add(id(error))
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None and id(before) not in seen:
        yield from _lines(before, seen)
        yield "which led to"
    for frame in traceback.extract_tb(error.__traceback__):
        yield f'  File "{frame.filename}", line {frame.lineno}, in {frame.name}'
    yield f"{type(error).__qualname__}{_message(error)}"
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            yield from _lines(part, seen)


def _message(error: BaseException) -> str:
    is_ours = isinstance(error, ClawError) and not isinstance(error, WireError)
    return f": {error}" if is_ours or isinstance(error, OSError) else ""
