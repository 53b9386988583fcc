"""Trials of a sweep: their scores, and the processes that they start."""

import json
import os
import signal
import subprocess
import sys

import psutil
import pytest
from sweep_runs import wait_for

from clawjax.sweeps.record import best, read_sweep
from clawjax.sweeps.trial import (
    SCORE_FILE,
    SCORE_KEY,
    STEP_KEY,
    TrialFailedError,
    TrialStoppedError,
    _Scores,
    end_leftover,
    read_score,
    run_trial,
)

optuna = pytest.importorskip("optuna")


@pytest.mark.parametrize(
    "left", ['{"score": null}', '{"score": "1"}', '{"scor', "{}", "[1]", '{"score": NaN}', "\xff"]
)
def test_what_is_no_score_fails_its_trial_alone(tmp_path, left):
    (tmp_path / SCORE_FILE).write_text(left)
    with pytest.raises(TrialFailedError, match=r"score\.json has no finite number"):
        read_score(tmp_path)


STARTS_ANOTHER = """
import pathlib, subprocess, sys, time
other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"],
                         start_new_session=True)
pathlib.Path(sys.argv[1]).write_text(str(other.pid))
time.sleep(600)
"""


def is_running(pid):
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_what_a_trial_has_started_in_sessions_of_their_own_ends_with_it(tmp_path):
    note = tmp_path / "other"
    program = [sys.executable, "-c", STARTS_ANOTHER, str(note)]
    stopping = {"is_stopping": lambda: note.exists() and note.read_text() != ""}
    with pytest.raises(TrialStoppedError):
        run_trial(program, tmp_path, timeout_s=60, is_hopeless=lambda *_: False, **stopping)
    assert not is_running(int(note.read_text()))


def test_a_leftover_trial_is_ended_with_what_it_has_started(tmp_path):
    note = tmp_path / "other"
    left = subprocess.Popen(
        [sys.executable, "-c", STARTS_ANOTHER, str(note)], start_new_session=True
    )
    wait_for(lambda: note.exists() and note.read_text(), left)
    held = {"pid": left.pid, "created": psutil.Process(left.pid).create_time()}
    (tmp_path / "process.json").write_text(json.dumps(held))
    end_leftover(tmp_path)
    assert left.wait(10) == -signal.SIGKILL
    assert not is_running(int(note.read_text()))
    assert not (tmp_path / "process.json").exists()


def job(folder, override, *, score, age_s):
    """A job of a multirun that began now, and a score that was left so long before."""
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "overrides.yaml").write_text(f"- {override}\n")
    (folder / ".hydra" / "hydra.yaml").write_text("hydra: {job: {name: run}}\n")
    began = (folder / ".hydra" / "overrides.yaml").stat().st_mtime
    (folder / SCORE_FILE).write_text(json.dumps({"score": score}))
    os.utime(folder / SCORE_FILE, (began - age_s, began - age_s))


def test_a_score_that_an_earlier_multirun_left_is_not_the_new_jobs(tmp_path):
    job(tmp_path / "0", "objective.kl_coef=0", score=0.9, age_s=1.1)
    job(tmp_path / "1", "objective.kl_coef=0.1", score=0.5, age_s=-2)
    record = read_sweep(tmp_path)
    stale, fresh = record.rows
    assert (stale.score, stale.seconds) == (None, None)
    assert "an earlier job left it" in stale.state
    assert (fresh.score, fresh.state, fresh.seconds) == (0.5, "complete", pytest.approx(2))
    assert best(record) == fresh


def test_an_intermediate_score_that_is_no_number_is_none(tmp_path):
    lines = [("a", 1), (0.5, "b"), (None, 2), (0.5, None), (0.25, 3)]
    path = tmp_path / "metrics.jsonl"
    path.write_text(
        "".join(json.dumps({SCORE_KEY: one, STEP_KEY: two}) + "\n" for one, two in lines)
    )
    assert _Scores(path).read() == [(0.25, 3)]
