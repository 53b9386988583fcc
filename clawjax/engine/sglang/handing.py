"""The key of a server that is started here, on its way to that server.

Invariant: by a file it reaches nobody but the server and whoever runs it: arguments are for
everybody on the machine to read, a file of mode 0600 is not.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import yaml

__all__ = ["HandedKey"]

_ADVICE = (
    "\n(the program does not take --config FILE.yaml, by which it is to get its key; SGLang does "
    "from 0.5.3 on: use a newer one, or set engine.sglang.launch.key_by=argument, which shows the "
    "key in the process list)"
)


class HandedKey:
    """A key, or none, for one server."""

    def __init__(self, key: str | None, by: str) -> None:
        """Nothing is written before `hand_over`.

        Args:
            key: None: the server asks for none.
            by: see `LaunchConfig.key_by`.
        """
        self._key = key
        self._by = by
        self._file: Path | None = None

    def hand_over(self) -> list[str]:
        """The options that tell a server its key, for each of its starts.

        Raises:
            OSError: the file cannot be written.
        """
        if self._key is None:
            return []
        if self._by == "argument":
            return ["--api-key", self._key]
        if self._file is None or not self._file.exists():
            self._file = _private(yaml.safe_dump({"api-key": self._key}))
        return ["--config", str(self._file)]

    def take_back(self) -> None:
        """Remove what was written; the server is gone."""
        if self._file is not None:
            self._file.unlink(missing_ok=True)

    def advice(self, last_words: str) -> str:
        """What to do where a server ended because of how it was told; "" where it did not."""
        file = str(self._file)
        is_refused = any(
            "unrecognized arguments" in line and file in line for line in last_words.splitlines()
        )
        return _ADVICE if is_refused else ""


def _private(text: str) -> Path:
    """A new file that only its owner reads, with the name that SGLang wants for YAML."""
    descriptor, name = tempfile.mkstemp(prefix="clawjax-", suffix=".yaml")
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(text)
    return Path(name)
