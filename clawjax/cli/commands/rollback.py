"""Serve another version from now on, and learn on from there.

    clawjax rollback runs/serve 3
    clawjax rollback runs/serve 0          # the base model
    clawjax rollback runs/serve --list

Works while the run goes on, which adopts the version at its next look at the store, and while it
does not. Going forward again is the same command. A version that was refused needs --force.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from clawjax.errors import StoreError
from clawjax.weights.__main__ import main as weights

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The run and the version."""
    parser.add_argument("run", type=Path, help="the run's folder, e.g. runs/serve")
    parser.add_argument("version", type=int, nargs="?", help="its number; 0 is the base model")
    parser.add_argument("--force", action="store_true", help="also one that was refused")
    parser.add_argument("--list", action="store_true", help="all versions; changes nothing")


def run(options: argparse.Namespace) -> int:
    """Move the pointer, or list the versions."""
    sys.stdout.flush()
    if options.list:
        return weights(["list", str(options.run)])
    if options.version is None:
        msg = "no version is named: give its number; `clawjax rollback RUN --list` shows them"
        raise StoreError(msg)
    force = ["--force"] if options.force else []
    return weights(["rollback", str(options.run), str(options.version), *force])
