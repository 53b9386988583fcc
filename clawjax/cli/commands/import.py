"""Turn preference files of any common shape into a clean data set: deduplicated, split by user.

    clawjax import hh-rlhf/*.jsonl --provenance human --out data/hh
    clawjax import preferences.jsonl --held-out 0.2 --split-by prompt --out data/mine

Shapes are told apart line by line: TRL's chosen and rejected, HH-RLHF, UltraFeedback, KTO's thumbs,
and `messages`. Writes `train_pairs.jsonl` and `held_out_pairs.jsonl` (TRL's shape) and the same of
`rated` replies (KTO's shape), each with user, source and provenance, as far as there are any.
`python experiments/train_offline.py offline.files=[...]` reads these and the originals alike.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from clawjax.data.dedupe import deduped
from clawjax.data.files import read_rows, write_lines
from clawjax.data.formats import form_of
from clawjax.data.preferences import Preference, Provenance, Row
from clawjax.data.split import SplitBy, split
from clawjax.errors import ConfigError, DataError

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which files, whose judgement, to where."""
    parser.add_argument("files", nargs="+", type=Path, help="JSON lines")
    parser.add_argument("--out", required=True, type=Path, help="a new folder")
    parser.add_argument(
        "--provenance",
        choices=tuple(Provenance),
        default=Provenance.HUMAN,
        help="who judged, where a line does not say",
    )
    parser.add_argument("--held-out", type=float, default=0.1, help="share of users held out")
    parser.add_argument("--split-by", choices=tuple(SplitBy), default=SplitBy.user)
    parser.add_argument("--seed", type=int, default=0, help="of the split")
    parser.add_argument(
        "--similar", type=float, default=0.9, help="rows as much alike are one; above 1: equal ones"
    )


def run(options: argparse.Namespace) -> int:
    """Read, clean, split, write.

    Raises:
        ConfigError: a share that is none.
        DataError: nothing of use, or it cannot be written.
    """
    if not options.similar > 0:
        msg = f"--similar {options.similar:g} is no share: use above 0 to 1, or more for equal rows"
        raise ConfigError(msg)
    found = read_rows(options.files, provenance=Provenance(options.provenance))
    if not found.rows:
        msg = f"no line of use in {len(options.files)} files: left out {dict(found.skipped)}"
        raise DataError(msg)
    unique = deduped(found.rows, similar=options.similar)
    by = SplitBy(options.split_by)
    train, held_out = split(unique.rows, held_out=options.held_out, by=by, seed=options.seed)
    try:
        options.out.mkdir(parents=True)
    except OSError as error:
        msg = f"--out {options.out} cannot be made ({error.strerror}): name a new folder"
        raise DataError(msg) from error
    for side, rows in (("train", train), ("held_out", held_out)):
        _write(options.out, side, rows)
    left_out = [f"{count} {reason}" for reason, count in sorted(found.skipped.items())]
    sys.stdout.write(
        f"{len(found.rows)} rows: {unique.exact} repeated, {unique.near} nearly so; "
        f"{len(train)} to train on, {len(held_out)} held out\n"
        + "".join(f"left out: {reason}\n" for reason in left_out)
    )
    return 0


def _write(folder: Path, side: str, rows: Sequence[Row]) -> None:
    for kind, shape in (("pairs", "trl"), ("rated", "kto")):
        lines = [form_of(r, shape) for r in rows if isinstance(r, Preference) == (kind == "pairs")]
        if lines:
            write_lines(folder / f"{side}_{kind}.jsonl", lines)
