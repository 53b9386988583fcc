"""Sum a sweep up: its trials, which parameter mattered, the best command line.

    clawjax sweep summary runs/sweeps/tiny
    clawjax sweep summary runs/tau --minimise

Reads the folder of `experiments/sweep.py` or of a Hydra multirun (`-m`); writes `summary.md` and
`importance.png` into it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from clawjax.sweeps.record import read_sweep
from clawjax.sweeps.summary import importance, plot, render

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The folder, and which scores are good ones."""
    actions = parser.add_subparsers(dest="action", required=True)
    summary = actions.add_parser("summary", help="table, importance and the best command line")
    summary.add_argument("folder", type=Path, help="of the sweep, e.g. runs/sweeps/tiny")
    summary.add_argument(
        "--minimise", action="store_true", help="of a multirun: a lower score is better"
    )


def run(options: argparse.Namespace) -> int:
    """Print and keep it."""
    record = read_sweep(options.folder, is_minimised=options.minimise)
    weights = importance(record)
    text = render(record, weights)
    (options.folder / "summary.md").write_text(text, encoding="utf-8")
    plot(record, weights, options.folder / "importance.png")
    sys.stdout.write(text)
    return 0
