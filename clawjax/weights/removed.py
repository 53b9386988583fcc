"""What is kept of removed versions: `PARENTS`, a line of JSON each.

Only of those that were refused, or did not descend from the number before: of all others that goes
without saying. Invariant: a line is there before its version is gone. The caller holds the
pointer's lock.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clawjax.errors import StoreError
from clawjax.files import replace_file
from clawjax.protocols import Removed, WeightVersion

__all__ = ["keep_removed", "kept_removed"]

_PARENTS = "PARENTS"


def kept_removed(root: Path) -> dict[int, Removed]:
    """What is known of versions that are here no longer, by number.

    Raises:
        StoreError: the record is damaged.
    """
    file = root / _PARENTS
    try:
        lines = [json.loads(line) for line in file.read_text(encoding="ascii").splitlines()]
        return {
            int(line["version"]): Removed(int(line["parent"]), line.get("refused"))
            for line in lines
        }
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        msg = f"{file} is no record of parents ({error}): move it away, or repair the line"
        raise StoreError(msg) from error


def keep_removed(root: Path, version: WeightVersion) -> None:
    """Add a version that is about to be removed."""
    before = version.version - 1
    about = Removed(before if version.parent is None else version.parent, version.refused)
    if about != Removed(before):
        _write(root, kept_removed(root) | {version.version: about})


def _write(root: Path, removed: Mapping[int, Removed]) -> None:
    lines = [json.dumps(_line(one, removed[one])) for one in sorted(removed)]
    replace_file(root / _PARENTS, "\n".join(lines) + "\n")


def _line(version: int, about: Removed) -> dict[str, Any]:
    told = {"version": version, **about._asdict()}
    return {name: value for name, value in told.items() if value is not None}
