"""JSON lines to a new file that only its owner may read, or to standard output."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from clawjax.data import files
from clawjax.texts import clean_json

__all__ = ["write_lines"]


def write_lines(out: Path | None, entries: Iterable[Mapping[str, Any]]) -> int:
    """Write one object per line, and say how many; None and `-` are standard output.

    Raises:
        DataError: the file is there already or cannot be made.
    """
    counter = itertools.count()
    counted = (entry for entry, _ in zip(entries, counter, strict=False))
    if out is None or str(out) == "-":
        lines = (json.dumps(entry, ensure_ascii=False) for entry in counted)
        sys.stdout.writelines(f"{clean_json(line)}\n" for line in lines)
    else:
        files.write_lines(out, counted)
    return next(counter)
