"""Work with evaluations that are on record; nothing is played.

    python -m clawjax.evals rescore runs/gaia/gaia
    python -m clawjax.evals compare runs/before/gaia runs/after/gaia

`rescore` scores every trajectory of a folder again, with the scorer of today, and writes its
reports anew. `compare` tells whether the second agent is better than the first.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from clawjax.errors import ClawError, ConfigError
from clawjax.evals.compare import compare, render_comparison
from clawjax.evals.harness.protocols import Suite
from clawjax.evals.harness.runner import Episode, on_record, rescore
from clawjax.evals.harness.store import EpisodeStore
from clawjax.evals.reporting import write_report
from clawjax.evals.reporting.markdown import render_overview
from clawjax.evals.suites import build_suite

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code, 2 where the arguments cannot be satisfied."""
    options = _parse(arguments)
    try:
        if options.command == "rescore":
            told = _rescore(options.folder)
        else:
            told = render_comparison(compare(_read(options.a), _read(options.b)))
    except ClawError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write(told)
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m clawjax.evals",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    again = commands.add_parser("rescore", help="score what is on record again")
    again.add_argument("folder", type=Path, help="with trajectories.jsonl, e.g. runs/gaia/gaia")
    both = commands.add_parser("compare", help="two evaluations of the same suite")
    both.add_argument("a", type=Path)
    both.add_argument("b", type=Path)
    return parser.parse_args(arguments)


def _rescore(folder: Path) -> str:
    suite, store = _open(folder)
    episodes = asyncio.run(rescore(suite, store))
    return render_overview([write_report(suite, episodes, store)])


def _read(folder: Path) -> list[Episode]:
    suite, store = _open(folder)
    return on_record(suite, store)


def _open(folder: Path) -> tuple[Suite, EpisodeStore]:
    manifest = folder / "manifest.json"
    if not manifest.exists():
        msg = f"{folder} holds no evaluation: name a folder with manifest.json"
        raise ConfigError(msg)
    held = json.loads(manifest.read_text(encoding="utf-8"))
    return build_suite(held["suite"], held["settings"]["suite"]), EpisodeStore(folder)


if __name__ == "__main__":
    sys.exit(main())
