"""Whom removed versions descended from: `PARENTS`, a line of JSON each.

Only of those that did not descend from the number before: of all others that goes without saying.
Invariant: a line is there before its version is gone. The caller holds the pointer's lock.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from clawjax.errors import StoreError
from clawjax.files import replace_file
from clawjax.protocols import WeightVersion

__all__ = ["keep_parent", "kept_parents"]

_PARENTS = "PARENTS"


def kept_parents(root: Path) -> dict[int, int]:
    """Parents by version.

    Raises:
        StoreError: the record is damaged.
    """
    file = root / _PARENTS
    try:
        lines = [json.loads(line) for line in file.read_text(encoding="ascii").splitlines()]
        return {int(line["version"]): int(line["parent"]) for line in lines}
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, KeyError) as error:
        msg = f"{file} is no record of parents ({error}): move it away, or repair the line"
        raise StoreError(msg) from error


def keep_parent(root: Path, removed: WeightVersion) -> None:
    """Add a version that is about to be removed."""
    if removed.parent is not None and removed.parent != removed.version - 1:
        _write(root, kept_parents(root) | {removed.version: removed.parent})


def _write(root: Path, parents: Mapping[int, int]) -> None:
    lines = [json.dumps({"version": one, "parent": parents[one]}) for one in sorted(parents)]
    replace_file(root / _PARENTS, "\n".join(lines) + "\n")
