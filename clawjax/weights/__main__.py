"""See which versions a run has made, and choose the one it serves.

    python -m clawjax.weights list runs/serve
    python -m clawjax.weights rollback runs/serve 3

Works while the run goes on, which serves the version chosen at its next look at the store and
learns on from there, and while it does not. Version 0 is the base model. A version that was refused
is served with --force only.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

from clawjax.errors import StoreError
from clawjax.protocols import WeightVersion
from clawjax.weights.lineage import Lineage
from clawjax.weights.pointer import is_left_behind
from clawjax.weights.store import DirectoryWeightStore

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code, 2 where the arguments cannot be satisfied."""
    options = _parse(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        store = _open(options.run)
        if options.command == "rollback":
            _roll_back(store, options.version, is_forced=options.force)
        else:
            sys.stdout.writelines(f"{line}\n" for line in _table(store))
    except StoreError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m clawjax.weights",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    shown = commands.add_parser("list", help="all versions: which is served, which were refused")
    rollback = commands.add_parser("rollback", help="serve another version from now on")
    for command in (shown, rollback):
        command.add_argument("run", type=Path, help="the run's folder, e.g. runs/serve")
    rollback.add_argument("version", type=int, help="its number; 0 is the base model")
    rollback.add_argument("--force", action="store_true", help="also one that was refused")
    return parser.parse_args(arguments)


def _open(run: Path) -> DirectoryWeightStore:
    if not (run / "weights").is_dir():
        msg = f"{run} is no run with weights: name its folder, the one that holds weights/"
        raise StoreError(msg)
    return DirectoryWeightStore(run / "weights")


def _roll_back(store: DirectoryWeightStore, version: int, *, is_forced: bool) -> None:
    before = store.latest()
    store.point_to(version, is_forced=is_forced)
    was = 0 if before is None else before.version
    sys.stdout.write(f"Version {version} is served from now on, in place of {was}.\n")


def _table(store: DirectoryWeightStore) -> Iterator[str]:
    latest, rollbacks = store.latest(), store.rollbacks()
    served = 0 if latest is None else latest.version
    yield f"{'version':>7}  {'parent':>6}  {'made':<19}"
    yield _line("0", "", "the base model", ["served"] if served == 0 else [])
    lineage = Lineage.of_store(store)
    for version in lineage.versions.values():
        notes = []
        if version.version == served:
            notes.append("served")
        elif is_left_behind(version.version, rollbacks) and not lineage.descends(
            served, version.version
        ):
            notes.append("rolled back")
        if version.refused is not None:
            notes.append(f"refused: {version.refused}")
        parent = "" if version.parent is None else str(version.parent)
        yield _line(str(version.version), parent, _made(version), notes)


def _line(version: str, parent: str, made: str, notes: Sequence[str]) -> str:
    return f"{version:>7}  {parent:>6}  {made:<19}  {', '.join(notes)}".rstrip()


def _made(version: WeightVersion) -> str:
    """Local time."""
    if version.created_at is None:
        return "unknown"
    return f"{datetime.fromtimestamp(version.created_at).astimezone():%Y-%m-%d %H:%M:%S}"


if __name__ == "__main__":
    sys.exit(main())
