"""A run whose learner is two processes, as on two hosts: one dies, and both come back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from started_runs import ROOT, SERVE, Client, finish, kill, start

from clawjax.log.store import SqlTurnLog
from clawjax.testing import free_port
from clawjax.weights import DirectoryWeightStore


def start_further(runs: Path, *overrides: str) -> subprocess.Popen[str]:
    """The second host."""
    return subprocess.Popen(
        [sys.executable, "experiments/learn.py", "experiment=serve", *overrides],
        cwd=ROOT,
        env={**os.environ, "CLAWJAX_RUNS": str(runs)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.slow
def test_a_learner_of_two_processes_survives_the_death_of_one(tmp_path):
    overrides = (
        *SERVE,
        "learner.mesh.fsdp=2",
        "learner.distributed.enabled=true",
        f"learner.distributed.coordinator=127.0.0.1:{free_port()}",
        "learner.distributed.processes=2",
    )
    folder = tmp_path / "serve"
    first = "learner.distributed.process_id=0"
    run = start(tmp_path, *overrides, first, experiment="serve")
    further = start_further(tmp_path, *overrides, "learner.distributed.process_id=1")
    try:
        client = Client(folder, run)
        client.served(0)
        client.teach(1)
        kill(further, "clawjax.runtime.learn")
        assert client.ask("Still there?")
        client.teach(2)
        run.send_signal(signal.SIGINT)
        finish(run)
        said, _ = further.communicate(timeout=120)
        assert further.returncode == 0, said
    finally:
        run.kill()
        further.kill()
    assert "learn-1.log" in said
    learnt = (folder / "logs" / "learn.log").read_text()
    assert "process 0 of 2 ends (" in learnt or "another task died" in learnt
    assert "restart 1" in (folder / "logs" / "supervisor.log").read_text()
    log = SqlTurnLog.open(f"sqlite:///{folder}/turns.db")
    trained = [o.trained_version for o in log.outcomes().values() if o.trained_version]
    assert log.claimed() == 0
    log.close()
    assert sorted(set(trained)) == [1, 2]
    assert [v.parent for v in DirectoryWeightStore(folder / "weights").versions()] == [0, 1]
