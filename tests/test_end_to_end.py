"""The four loops as a user runs them, on a tiny random model: real processes, HTTP and disk.

What is shown here: the loops run to the end; killing either process in the middle loses nothing
and trains nothing twice; a version over the drift budget is not served; a person goes back to an
earlier version while the run goes on.
"""

import json
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from started_runs import ROOT, SERVE, Client, check_books, eventually, finish, kill, start

from clawjax.log.store import SqlTurnLog
from clawjax.weights import DirectoryWeightStore


@pytest.mark.slow
def test_the_loops_run_and_survive_kill_9(tmp_path):
    slowly = ("user.updates=5", "user.max_turns=300", "user.think_s=0.5")
    run = start(tmp_path, "monitor=wandb", *slowly)
    folder = tmp_path / "tiny_demo"
    try:
        eventually(lambda: (folder / "weights" / "LATEST").exists(), run, 300)
        kill(run, "clawjax.runtime.learn")
        kill(run, "clawjax.runtime.serve")
        output = finish(run)
    finally:
        run.kill()
    report = check_books(folder)
    assert report["non_2xx"] == 0
    assert report["policy_version"] >= 2
    difference = report["mean_abs_logprob_diff"]
    assert difference is None or difference <= 1e-3  # None: every turn met newer weights
    assert report["judge"]["scored"] > 0
    assert report["peak_rss_bytes"] > 0
    assert {"before", "after", "seed", "git_sha", "versions", "seconds"} <= set(report)
    assert (folder / "report.png").read_bytes().startswith(b"\x89PNG")
    assert list((folder / "wandb").glob("offline-run-*/*.wandb"))
    assert "trained" in output


@pytest.mark.slow
def test_a_run_that_was_stopped_resumes_where_it_was(tmp_path):
    folder = tmp_path / "tiny_demo"
    interrupted = stopped_run(tmp_path, signal.SIGINT, after=0)
    assert "the same command resumes" in interrupted
    logged, version = turns_logged(folder), newest_version(folder)
    stopped_run(tmp_path, signal.SIGKILL, after=version)
    assert turns_logged(folder) >= logged, "for a version those may do that were logged before"
    logged, version = turns_logged(folder), newest_version(folder)
    last = start(tmp_path, f"user.updates={version + 1}", "user.max_turns=400")
    try:
        finish(last)
    finally:
        last.kill()
    report = check_books(folder)
    assert report["turns"]["logged"] >= logged
    assert report["policy_version"] > version


def stopped_run(runs: Path, how: signal.Signals, *, after: int) -> str:
    """A run that was sent a signal once it had a version after that one; what it said."""
    folder = runs / "tiny_demo"
    run = start(runs, f"user.updates={after + 50}", "user.max_turns=400")
    try:
        eventually(lambda: newest_version(folder) > after, run, 300)
        children = psutil.Process(run.pid).children()
        run.send_signal(how)
        if how is signal.SIGINT:
            return finish(run)
        output, _ = run.communicate(timeout=10)
        assert not psutil.wait_procs(children, timeout=60)[1], "orphans"
        return output
    finally:
        run.kill()


def newest_version(folder: Path) -> int:
    """0 where there is none yet."""
    if not (folder / "weights" / "LATEST").exists():
        return 0
    newest = DirectoryWeightStore(folder / "weights").latest()
    return 0 if newest is None else newest.version


def turns_logged(folder: Path) -> int:
    log = SqlTurnLog.open(f"sqlite:///{folder}/turns.db")
    try:
        return log.counts().logged
    finally:
        log.close()


def roll_back(folder: Path, version: int) -> str:
    command = [sys.executable, "-m", "clawjax.weights", "rollback", str(folder), str(version)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=180, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_version_over_the_drift_budget_is_not_served_and_the_run_says_so(tmp_path):
    folder = tmp_path / "serve"
    limits = ("learner.drift.max_kl=1e-12", "learner.drift.max_nll_increase=9")
    run = start(tmp_path, *SERVE, *limits, experiment="serve")
    try:
        client = Client(folder, run)
        client.served(0)
        store = DirectoryWeightStore(folder / "weights")
        for made in (1, 2):
            client.praise()
            client.praise()
            eventually(lambda n=made: len(store.versions()) == n, run, 300)
        assert client.health()["version"] == 0
        run.send_signal(signal.SIGINT)
        output = finish(run)
    finally:
        run.kill()
    assert [(v.version, v.parent) for v in store.versions()] == [(1, 0), (2, 0)]
    reason = "KL to the base model is"
    assert all(version.refused.startswith(reason) for version in store.versions())
    for version in (1, 2):
        assert f"Version {version} is kept and not served: {reason}" in output
    assert f"version 1 is kept and not served: {reason}" in (folder / "logs/learn.log").read_text()
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    steps = [entry for entry in metrics if "train/loss" in entry]
    assert [step["train/refused"] for step in steps] == [1, 2]
    assert all(step["drift/kl"] > 0 and abs(step["drift/nll_increase"]) < 9 for step in steps)
    log = SqlTurnLog.open(f"sqlite:///{folder}/turns.db")
    sampled = {run.version for judged in log.turns() for run in judged.turn.token_versions}
    log.close()
    assert sampled == {0}


@pytest.mark.slow
def test_a_rollback_is_served_at_once_and_learnt_on_from(tmp_path):
    folder = tmp_path / "serve"
    run = start(tmp_path, *SERVE, experiment="serve")
    try:
        client = Client(folder, run)
        client.served(0)
        client.teach(1)
        client.teach(2)
        with ThreadPoolExecutor(2) as threads:  # people go on talking meanwhile
            talk = [
                threads.submit(client.ask, f"Hello {n}", max_tokens=200, turn_type="side")
                for n in range(12)
            ]
            assert "Version 1 is served from now on, in place of 2" in roll_back(folder, 1)
            client.served(1)
            assert all(future.result() for future in talk)
        assert client.versions_of(client.ask("Hello?", turn_type="side")) == {1}
        client.teach(3)
        store = DirectoryWeightStore(folder / "weights")
        assert [(v.version, v.parent) for v in store.versions()] == [(1, 0), (2, 1), (3, 1)]
        roll_back(folder, 0)
        client.served(0)
        assert client.versions_of(client.ask("Hello?", turn_type="side")) == {0}
        kill(run, "clawjax.runtime.learn")
        kill(run, "clawjax.runtime.serve")
        client.served(0)
        client.teach(4)
        assert store.load(4)[0].parent == 0
        run.send_signal(signal.SIGINT)
        output = finish(run)
    finally:
        run.kill()
    assert "Version 1 is served in place of 2, as somebody asked" in output
    assert "Version 0 is served in place of 3, as somebody asked" in output
    log = SqlTurnLog.open(f"sqlite:///{folder}/turns.db")
    trained = [o.trained_version for o in log.outcomes().values() if o.trained_version]
    counters = log.counters()
    log.close()
    assert set(trained) == {1, 2, 3, 4}
    assert counters.get("non_2xx", 0) == 0
