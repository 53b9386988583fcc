"""The rows of the data sets that `offline` names: read, cleaned and split."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from clawjax.config import RunConfig
from clawjax.data.dedupe import deduped
from clawjax.data.files import read_rows
from clawjax.data.preferences import Provenance, Row
from clawjax.data.split import SplitBy, apart, split
from clawjax.errors import DataError

__all__ = ["RowSets", "load_rows"]

_NAMED = 5
"""Places of rows that are left out, e.g. `pairs.jsonl:3`."""


class RowSets(NamedTuple):
    """What is learnt from, and what is measured on."""

    train: Sequence[Row]
    held_out: Sequence[Row]
    held_out_too: int = 0
    """Rows that are not in `train` because `held_out` asks the same."""


def load_rows(config: RunConfig) -> RowSets:
    """Read, clean and split the files that are named.

    Raises:
        DataError: unreadable, or nothing of use, also because all of it is held out.
    """
    offline = config.offline
    who = Provenance(offline.provenance)
    found = read_rows(map(Path, offline.files), provenance=who)
    unique = deduped(found.rows, similar=offline.similar)
    sys.stdout.write(
        f"{len(found.rows)} rows of {len(offline.files)} files: {unique.exact} repeated, "
        f"{unique.near} nearly so; lines left out: {dict(found.skipped)}\n"
    )
    by = SplitBy(offline.split_by)
    if offline.held_out_files:
        held_out = read_rows(map(Path, offline.held_out_files), provenance=who)
        return _apart(unique.rows, held_out.rows, by)
    return RowSets(*split(unique.rows, held_out=offline.held_out, by=by, seed=config.run.seed))


def _apart(train: Sequence[Row], held_out: Sequence[Row], by: SplitBy) -> RowSets:
    """Learn from no answer to what is measured on, and say which rows those are.

    Raises:
        DataError: that leaves nothing.
    """
    kept = apart(train, held_out, by=by)
    ours = set(map(id, kept))
    shared = [row.source for row in train if id(row) not in ours]
    if not shared:
        return RowSets(kept, held_out)
    places = list(dict.fromkeys(shared))
    some = ", ".join(places[:_NAMED]) + (", ..." if len(places) > _NAMED else "")
    told = (
        f"{len(shared)} of {len(train)} rows of offline.files have prompts that are in "
        f"offline.held_out_files, too ({some})"
    )
    if not kept:
        msg = (
            f"{told}: measure on other files, or on none (offline.held_out_files=[]), whereupon "
            "offline.held_out says how much of offline.files is held out"
        )
        raise DataError(msg)
    sys.stdout.write(f"{told}: they are not learnt from\n")
    return RowSets(kept, held_out, len(shared))
