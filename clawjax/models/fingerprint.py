"""Tells one set of base weights from another without reading gigabytes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

__all__ = ["fingerprint"]

_PROBE_BYTES = 1 << 20


def fingerprint(paths: Sequence[Path]) -> str:
    """Twelve hex digits of the sizes, the first and the last MiB of files, whatever their names."""
    digest = hashlib.sha256()
    for path in paths:
        size = path.stat().st_size
        digest.update(size.to_bytes(8, "little"))
        with path.open("rb") as file:
            digest.update(file.read(_PROBE_BYTES))
            file.seek(max(0, size - _PROBE_BYTES))
            digest.update(file.read(_PROBE_BYTES))
    return digest.hexdigest()[:12]
