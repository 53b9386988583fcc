"""JSON lines to a new file that only its owner may read, or to standard output."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from clawjax.data import files
from clawjax.texts import clean_json

__all__ = ["write_lines"]


def write_lines(out: Path | None, entries: Iterable[Mapping[str, Any]]) -> None:
    """Write one object per line; None and `-` are standard output.

    Raises:
        DataError: the file is there already or cannot be made.
    """
    if out is None or str(out) == "-":
        lines = (json.dumps(entry, ensure_ascii=False) for entry in entries)
        sys.stdout.writelines(f"{clean_json(line)}\n" for line in lines)
        return
    files.write_lines(out, entries)
