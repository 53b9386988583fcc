"""Values as Hydra's command line reads them.

Invariant: Hydra reads back the path that was written, whatever its name is made of.
"""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["path_override"]

_PLAIN = re.compile(r"[\w.-]*/[\w./-]*", re.ASCII)
_BEFORE_QUOTE = re.compile(r"(\\+)(?='|\Z)")


def path_override(key: str, path: str | Path) -> str:
    """`key=path`; quoted where a character means something else to Hydra's grammar.

    Backslashes count as such, and are doubled, only where a quote follows.
    """
    text = str(path)
    if _PLAIN.fullmatch(text):
        return f"{key}={text}"
    escaped = _BEFORE_QUOTE.sub(r"\1\1", text).replace("'", r"\'")
    return f"{key}='{escaped}'"
