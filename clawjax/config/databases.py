"""The addresses of databases that are files.

Invariant: what opens the address opens that file, whatever its path is made of.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from clawjax.config.checks import require

__all__ = ["file_url"]


def file_url(file: str | Path) -> str:
    """`sqlite:///FILE`, with `?`, `%` and the like as `%XX`.

    Raises:
        ConfigError: a path that is not UTF-8, which no address can name.
    """
    text = str(file)
    require(
        not any("\ud800" <= character <= "\udfff" for character in text),
        f"the path {text!r} is not UTF-8, so no address names a database there: rename the folder",
    )
    return f"sqlite:///{quote(text)}"
