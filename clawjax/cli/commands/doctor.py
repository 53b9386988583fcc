"""Check whether this machine, and a run's settings, are fit: nothing is changed.

    clawjax doctor
    clawjax doctor runs/serve

Looks at versions, devices, the port, the disk, the model's files, the keys and the judge, and tries
out computing, the turn log and the weight store in a temporary folder. Exit code 1 where something
is wrong.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from clawjax.cli import checkup
from clawjax.cli.checkup import Finding, Grade
from clawjax.cli.run_config import kept_config
from clawjax.config import RunConfig, RunSection
from clawjax.config.hosts import spare_loopback
from clawjax.texts import clean

__all__ = ["add_arguments", "run"]

_CHECKS: Sequence[tuple[str, Callable[[RunConfig], Finding]]] = (
    ("versions", checkup.check_versions),
    ("devices", checkup.check_devices),
    ("port", checkup.check_port),
    ("disk", checkup.check_disk),
    ("model", checkup.check_model),
    ("keys", checkup.check_keys),
    ("judge", checkup.check_judge),
    ("self-test", checkup.check_itself),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The run, if there is one."""
    parser.add_argument("run", nargs="?", type=Path, help="its folder; else the default settings")


def run(options: argparse.Namespace) -> int:
    """Check one thing after the other, and say what was found at once."""
    spare_loopback(os.environ)  # a judge may be here
    folder = options.run
    config = RunConfig(run=RunSection(dir=".")) if folder is None else kept_config(folder)
    if folder is not None:
        config.run.dir = str(folder)
    is_wrong = False
    for name, check in _CHECKS:
        found = check(config)
        is_wrong = is_wrong or found.grade is Grade.WRONG
        sys.stdout.write(f"{found.grade.value:5}  {name:9}  {clean(found.text)}\n")
        sys.stdout.flush()
    return int(is_wrong)
