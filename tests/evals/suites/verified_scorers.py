"""Interpreters for tests of WebArena-Verified: one that runs the fake scorer, and the real one."""

import os
import shlex
import sys
from pathlib import Path

DATA = Path(__file__).parents[2] / "data" / "webarena_verified" / "webarena-verified.json"
REAL = os.environ.get("CLAWJAX_VERIFIED_PYTHON")
"""One that has the package (docs/web.md)."""

_FAKE = Path(__file__).with_name("fake_verified_scorer.py")


def fake_interpreter(folder, data=DATA):
    """A program that starts the fake scorer, whatever script it is told to run."""
    path = folder / "python"
    command = shlex.join([sys.executable, "-I", str(_FAKE), str(data)])
    path.write_text(f"#!/bin/sh\nexec {command}\n")
    path.chmod(0o755)
    return str(path)
