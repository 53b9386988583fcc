"""Runs the programs of this folder in processes with devices of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
TIMEOUT_S = 900.0


def run_program(program: str, *arguments: str, devices: int = 8) -> Any:
    """What a program prints as JSON, on so many virtual devices."""
    return finished(start_program(program, *arguments, devices=devices))


def start_program(program: str, *arguments: str, devices: int) -> subprocess.Popen[str]:
    path = os.pathsep.join(str(folder) for folder in (HERE.parents[1], HERE.parent, HERE))
    flags = f"--xla_force_host_platform_device_count={devices}"
    return subprocess.Popen(
        [sys.executable, str(HERE / program), *arguments],
        env=os.environ | {"PYTHONPATH": path, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(process: subprocess.Popen[str]) -> Any:
    """Wait for it; its JSON, which is the last line."""
    try:
        said, complaints = process.communicate(timeout=TIMEOUT_S)
    finally:
        process.kill()
    assert process.returncode == 0, complaints[-4000:]
    return json.loads(said.splitlines()[-1])  # collectives have things to say too
