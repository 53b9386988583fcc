"""JSON lines to a new file that only its owner may read, or to standard output."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from clawjax.errors import LogError

__all__ = ["write_lines"]


def write_lines(out: Path | None, entries: Iterable[Mapping[str, Any]]) -> None:
    """Write one object per line; None and `-` are standard output.

    Raises:
        LogError: the file is there already or cannot be made.
    """
    lines = (json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries)
    if out is None or str(out) == "-":
        sys.stdout.writelines(lines)
        return
    try:
        descriptor = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w", encoding="utf-8") as stream:
            stream.writelines(lines)
    except OSError as error:
        msg = f"{out} cannot be written ({error.strerror}): name a new file"
        raise LogError(msg) from error
