"""The four loops as a user runs them, on a tiny random model: real processes, HTTP and disk.

What is shown here: the loops run to the end, and killing either process in the middle loses
nothing and trains nothing twice.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from clawjax.log.store import SqlTurnLog
from clawjax.weights import DirectoryWeightStore

ROOT = Path(__file__).parents[1]


def start(runs: Path, *overrides: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            sys.executable,
            "experiments/run.py",
            "experiment=tiny_demo",
            f"engine.compilation_cache={runs / 'xla'}",
            *overrides,
        ],
        cwd=ROOT,
        env={**os.environ, "CLAWJAX_RUNS": str(runs)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def child(run: subprocess.Popen[str], module: str) -> psutil.Process | None:
    for process in psutil.Process(run.pid).children():
        with contextlib.suppress(psutil.NoSuchProcess):  # a zombie, or just gone
            if module in " ".join(process.cmdline()):
                return process
    return None


def eventually(holds: Callable[[], bool], run: subprocess.Popen[str], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert run.poll() is None, run.communicate()[0]
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.05)


def kill(run: subprocess.Popen[str], module: str) -> None:
    process = child(run, module)
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)
    eventually(
        lambda: (found := child(run, module)) is not None and found.pid != process.pid, run, 30
    )


def finish(run: subprocess.Popen[str], timeout_s: float = 240) -> str:
    output, _ = run.communicate(timeout=timeout_s)
    assert run.returncode == 0, output
    return output


def check_books(folder: Path) -> dict:
    """Every turn has one ending, every version its own turns."""
    report = json.loads((folder / "report.json").read_text())
    turns = report["turns"]
    ended = turns["trained"] + sum(turns["dropped"].values())
    assert ended + turns["pending"] == turns["logged"]
    log = SqlTurnLog.open(f"sqlite:///{folder}/turns.db")
    assert log.counts().logged == turns["logged"]
    assert log.claimed() == 0
    trained = [o.trained_version for o in log.outcomes().values() if o.trained_version]
    assert len(trained) == turns["trained"]
    assert set(trained) == set(range(1, report["policy_version"] + 1))
    assert max(trained.count(version) for version in set(trained)) <= 4  # the batch
    log.close()
    store = DirectoryWeightStore(folder / "weights")
    assert store.load(report["policy_version"])[0].parent == report["policy_version"] - 1
    return report


@pytest.mark.slow
def test_the_loops_run_and_survive_kill_9(tmp_path):
    slowly = ("user.updates=8", "user.max_turns=300", "user.think_s=0.5")
    run = start(tmp_path, "monitor=wandb", *slowly)
    folder = tmp_path / "tiny_demo"
    try:
        eventually(lambda: (folder / "weights" / "LATEST").exists(), run, 120)
        kill(run, "clawjax.runtime.learn")
        kill(run, "clawjax.runtime.serve")
        output = finish(run)
    finally:
        run.kill()
    report = check_books(folder)
    assert report["non_2xx"] == 0
    assert report["policy_version"] >= 2
    assert report["mean_abs_logprob_diff"] <= 1e-3
    assert report["judge"]["scored"] > 0
    assert report["peak_rss_bytes"] > 0
    assert {"before", "after", "seed", "git_sha", "versions", "seconds"} <= set(report)
    assert (folder / "report.png").read_bytes().startswith(b"\x89PNG")
    assert list((folder / "wandb").glob("offline-run-*/*.wandb"))
    assert "trained" in output


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=["interrupted", "killed"])
def test_a_run_that_was_stopped_resumes_where_it_was(tmp_path, how):
    folder = tmp_path / "tiny_demo"
    first = start(tmp_path, "user.updates=50", "user.max_turns=400")
    try:
        eventually(lambda: (folder / "weights" / "LATEST").exists(), first, 120)
        children = psutil.Process(first.pid).children()
        first.send_signal(how)
        if how is signal.SIGINT:
            assert "the same command resumes" in finish(first)
        else:
            first.communicate(timeout=10)
            assert not psutil.wait_procs(children, timeout=60)[1], "orphans"
    finally:
        first.kill()
    log = SqlTurnLog.open(f"sqlite:///{folder}/turns.db")
    logged = log.counts().logged
    log.close()
    before = DirectoryWeightStore(folder / "weights").latest()
    assert before is not None
    second = start(tmp_path, f"user.updates={before.version + 1}")
    try:
        finish(second)
    finally:
        second.kill()
    report = check_books(folder)
    assert report["turns"]["logged"] >= logged
    assert report["policy_version"] > before.version


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model.path=/nowhere/model.gguf"], "/nowhere/model.gguf"),
        (["user.persona=nobody"], "nobody"),
        (["learner.min_turns=99"], "learner.min_turns=99"),
        (["gateway.host=0.0.0.0"], "CLAWJAX_API_KEY"),
        (["log.url=sqlite:////proc/nowhere/turns.db"], "turn log"),
        (["log.url=nonsense"], "log.url is no database URL"),
        (["reward.modules=[no_such_judge]"], "no_such_judge"),
        (["run.dry=true", "reward.modules=[no_such_judge]"], "no_such_judge"),
        (["learner.bach_turns=1"], "Key 'bach_turns' not in 'LearnerConfig'"),
        (["learner=qlora"], "Could not find 'learner/qlora'"),
        (["hydra.run.dir=/proc/nowhere"], "set CLAWJAX_RUNS"),
    ],
)
def test_what_cannot_run_says_why_and_starts_nothing(tmp_path, overrides, message):
    run = start(tmp_path, *overrides)
    output, _ = run.communicate(timeout=60)
    assert run.returncode == 2, output
    assert message in output
    assert "Traceback" not in output


def test_a_dry_run_prints_the_effective_objective(tmp_path):
    run = start(tmp_path, "run.dry=true", "objective.kl_coef=0")
    output = finish(run, 60)
    assert "-min(tr(r) A, clip(r, 0.8, 1.28) A)" in output
    assert "KL to the base" not in output
