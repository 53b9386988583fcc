"""What training leaves of the processor to others."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

TWICE = """
import os
from clawjax.config import LearnerConfig
from clawjax.runtime.priority import step_back

began = os.nice(0)
for _ in range(2):
    step_back(LearnerConfig(nice=3, cpu_cores=1))
print(os.nice(0) - began, len(os.sched_getaffinity(0)))
"""


def test_a_process_that_is_asked_twice_steps_back_once():
    done = subprocess.run(
        [sys.executable, "-c", TWICE], capture_output=True, text=True, timeout=120, check=False
    )
    expected = min(3, 19 - os.nice(0))
    assert done.stdout.split() == [str(expected), "1"], done.stderr


def test_training_on_a_data_set_leaves_the_processor_to_others(tmp_path):
    pipe = tmp_path / "pairs.jsonl"
    os.mkfifo(pipe)
    command = [
        sys.executable,
        "experiments/train_offline.py",
        "objective=dpo",
        "model=tiny",
        f"offline.files=[{pipe}]",
        "learner.nice=4",
        "learner.cpu_cores=1",
        f"run.dir={tmp_path / 'run'}",
        f"hydra.run.dir={tmp_path / 'run'}",
    ]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as program:
        try:
            with os.fdopen(_opened_for_writing(pipe, program), "w") as rows:
                niceness = os.getpriority(os.PRIO_PROCESS, program.pid)
                cores = os.sched_getaffinity(program.pid)
                rows.write("no JSON\n")
            assert (niceness, len(cores)) == (min(os.nice(0) + 4, 19), 1)
            _, told = program.communicate(timeout=120)
            assert "is no JSON" in told
        finally:
            program.kill()


def _opened_for_writing(pipe: Path, program: subprocess.Popen[str]) -> int:
    """The pipe, once the program reads it: it has stepped back by then, and waits."""
    until = time.monotonic() + 300
    while time.monotonic() < until and program.poll() is None:
        try:
            return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:  # nobody reads it yet
            time.sleep(0.1)
    program.kill()
    pytest.fail(f"it did not come to read: {program.communicate(timeout=60)[1]}")
