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
from clawjax.data.split import SplitBy, split

__all__ = ["RowSets", "load_rows"]


class RowSets(NamedTuple):
    """What is learnt from, and what is measured on."""

    train: Sequence[Row]
    held_out: Sequence[Row]


def load_rows(config: RunConfig) -> RowSets:
    """Read, clean and split the files that are named.

    Raises:
        DataError: unreadable, or nothing of use.
    """
    offline = config.offline
    who = Provenance(offline.provenance)
    found = read_rows(map(Path, offline.files), provenance=who)
    unique = deduped(found.rows, similar=offline.similar)
    sys.stdout.write(
        f"{len(found.rows)} rows of {len(offline.files)} files: {unique.exact} repeated, "
        f"{unique.near} nearly so; lines left out: {dict(found.skipped)}\n"
    )
    if offline.held_out_files:
        held_out = read_rows(map(Path, offline.held_out_files), provenance=who)
        return RowSets(unique.rows, held_out.rows)
    by = SplitBy(offline.split_by)
    return RowSets(*split(unique.rows, held_out=offline.held_out, by=by, seed=config.run.seed))
