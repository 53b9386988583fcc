"""MySQL's functions that sqlite lacks, or has with other rules. NULL in, NULL out. Pure."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Callable
from datetime import datetime
from typing import Any

__all__ = ["FUNCTIONS", "number"]

_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_MONTHS_FIRST = ("%Y-%m-%d", "%Y/%m/%d", "%Y")


def number(value: Any) -> float | int | None:
    """A text as MySQL reads it where a number is needed: its numeric beginning, otherwise 0."""
    if value is None or isinstance(value, int | float):
        return value
    found = _NUMBER.match(str(value))
    return float(found.group()) if found else 0.0


def _like(pattern: Any, value: Any) -> int | None:
    if pattern is None or value is None:
        return None
    parts = (
        re.escape(_plain(escaped[1]))
        if escaped
        else {"%": ".*", "_": "."}.get(c, re.escape(_plain(c)))
        for escaped, c in re.findall(r"(\\.)|(.)", str(pattern), re.DOTALL)
    )
    return int(re.fullmatch("".join(parts), _plain(str(value)), re.DOTALL) is not None)


def _regexp(pattern: Any, value: Any) -> int | None:
    if pattern is None or value is None:
        return None
    return int(re.search(_plain(str(pattern)), _plain(str(value))) is not None)


def _plain(text: str) -> str:
    kept = (c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return "".join(kept).lower()


def _concat_ws(separator: Any, *values: Any) -> str | None:
    if separator is None:
        return None
    return str(separator).join(str(value) for value in values if value is not None)


def _concat(*values: Any) -> str | None:
    return None if None in values else "".join(str(value) for value in values)


def _substring_index(text: Any, mark: Any, count: Any) -> str | None:
    if text is None or mark is None or count is None:
        return None
    parts = str(text).split(str(mark)) if mark else [""]
    kept = parts[:count] if count >= 0 else parts[count:]
    return str(mark).join(kept)


def _md5(text: Any) -> str | None:
    if text is None:
        return None
    return hashlib.md5(str(text).encode(), usedforsecurity=False).hexdigest()


def _left(text: Any, count: Any) -> str | None:
    return None if text is None or count is None else str(text)[: max(int(count), 0)]


def _right(text: Any, count: Any) -> str | None:
    if text is None or count is None:
        return None
    return str(text)[-int(count) :] if int(count) > 0 else ""


def _str_to_date(text: Any, form: Any) -> str | None:
    if text is None or form is None:
        return None
    try:
        return datetime.strptime(str(text), str(form)).date().isoformat()  # noqa: DTZ007 - a date
    except ValueError:
        return None


def _year(text: Any) -> int | None:
    for form in _MONTHS_FIRST:
        try:
            return datetime.strptime(str(text), form).year  # noqa: DTZ007 - a date
        except ValueError:
            continue
    return None


FUNCTIONS: dict[str, tuple[int, Callable[..., Any]]] = {
    "mysql_number": (1, number),
    "like": (2, _like),
    "regexp": (2, _regexp),
    "concat": (-1, _concat),
    "concat_ws": (-1, _concat_ws),
    "substring_index": (3, _substring_index),
    "md5": (1, _md5),
    "left": (2, _left),
    "right": (2, _right),
    "str_to_date": (2, _str_to_date),
    "year": (1, _year),
}
"""By name: number of arguments (-1: any) and function."""
