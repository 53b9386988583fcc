"""Hydra multirun: every launcher composes, and those that this machine has run real jobs."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore

from clawjax.config import RunConfig
from clawjax.sweeps.record import best, command_line, read_sweep

ROOT = Path(__file__).parents[2]
LAUNCHERS = sorted(path.stem for path in (ROOT / "conf" / "hydra" / "launcher").glob("*.yaml"))
NEEDS = {"processes": "joblib", "slurm": "submitit", "slurm_local": "submitit", "ray": "ray"}


@pytest.mark.parametrize("name", LAUNCHERS)
def test_every_launcher_composes(name, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "experiments"))
    if name != "ray":  # ours; the others are plugins, which bring their library
        pytest.importorskip(NEEDS[name])
    ConfigStore.instance().store(name="schema", node=RunConfig)
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        chosen = [f"hydra/launcher={name}", "hydra.sweep.dir=/tmp/x"]
        config = compose("evaluate", chosen, return_hydra_config=True).hydra.launcher
    module, _, kind = config._target_.rpartition(".")
    assert hasattr(importlib.import_module(module), kind)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["processes", "slurm_local", "ray"])
def test_jobs_of_a_multirun_leave_scores_and_a_summary(tmp_path, name):
    pytest.importorskip(NEEDS[name])
    done = subprocess.run(
        [
            sys.executable,
            str(ROOT / "experiments" / "evaluate.py"),
            "-m",
            f"hydra/launcher={name}",
            f"hydra.sweep.dir={tmp_path}",
            "suite=tau",
            "suite.limit=1",
            "agent=oracle,noop",
        ],
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    record = read_sweep(tmp_path)
    assert [(row.values["agent"], row.score) for row in record.rows] == [
        ("oracle", 1.0),
        ("noop", 0.0),
    ]
    top = best(record)
    assert top is not None
    assert command_line(record, top) == (
        "python experiments/evaluate.py suite=tau suite.limit=1 agent=oracle"
    )
