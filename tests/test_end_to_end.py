"""The four loops as a user runs them, on a tiny random model: real processes, HTTP and disk.

What is shown here: the loops run to the end; killing either process in the middle loses nothing
and trains nothing twice; a version over the drift budget is not served; a person goes back to an
earlier version while the run goes on.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest
from omegaconf import OmegaConf

from clawjax.log.store import SqlTurnLog
from clawjax.weights import DirectoryWeightStore

ROOT = Path(__file__).parents[1]


def start(runs: Path, *overrides: str, experiment: str = "tiny_demo") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "experiments/run.py", f"experiment={experiment}", *overrides],
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
        assert run.poll() is None, run.communicate(timeout=60)[0]
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


class Client:
    """A person at the endpoint of a run that serves."""

    def __init__(self, folder: Path, run: subprocess.Popen[str]) -> None:
        eventually(lambda: (folder / "config.yaml").exists(), run, 300)
        port = OmegaConf.load(folder / "config.yaml").gateway.port
        self._http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60)
        self._run = run
        self._log_url = f"sqlite:///{folder}/turns.db"

    def health(self) -> dict:
        try:
            return self._http.get("/healthz").raise_for_status().json()
        except httpx.HTTPError:
            return {}

    def served(self, version: int) -> None:
        """Wait until a version is served."""
        eventually(lambda: self.health().get("version") == version, self._run, 300)

    def ask(self, text: str, **fields: object) -> str:
        """The response id."""
        body = {"model": "tiny", "messages": [{"role": "user", "content": text}], "max_tokens": 16}
        reply = self._http.post("/v1/chat/completions", json=body | fields).raise_for_status()
        return reply.json()["id"]

    def teach(self, version: int) -> None:
        """Praise as many replies as a step needs, and wait until what it made is served."""
        self.praise()
        self.praise()
        self.served(version)

    def praise(self) -> None:
        """Ask for a reply and say that it was good."""
        feedback = {"response_id": self.ask("Say something."), "thumbs": "up"}
        self._http.post("/v1/feedback", json=feedback).raise_for_status()

    def versions_of(self, response_id: str) -> set[int]:
        """Which versions sampled a reply."""
        log = SqlTurnLog.open(self._log_url)
        turn_id = log.find_response(response_id)
        assert turn_id is not None
        judged = log.get(turn_id)
        log.close()
        assert judged is not None
        return {run.version for run in judged.turn.token_versions}


def roll_back(folder: Path, version: int) -> str:
    command = [sys.executable, "-m", "clawjax.weights", "rollback", str(folder), str(version)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=180, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


SERVE = ("model=tiny", "engine=tiny", "learner=tiny", "learner.idle_s=0.5", "gateway.port=0")


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


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model.path=/nowhere/model.gguf"], "/nowhere/model.gguf"),
        (["user.persona=nobody"], "nobody"),
        (["learner.min_turns=99"], "learner.min_turns=99"),
        (["learner.drift.max_kl=0"], "learner.drift.max_kl=0.0 refuses every version"),
        (["gateway.host=0.0.0.0"], "CLAWJAX_API_KEY"),
        (["log.url=sqlite:////proc/nowhere/turns.db"], "turn log"),
        (["log.url=nonsense"], "log.url is no database URL"),
        (["reward.modules=[no_such_judge]"], "no_such_judge"),
        (["run.dry=true", "reward.modules=[no_such_judge]"], "no_such_judge"),
        (["run.dry=true", "model.path=/nowhere/model.gguf"], "/nowhere/model.gguf"),
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


@pytest.mark.parametrize(
    ("mode", "setting", "said"),
    [
        ("run.dry=true", "log.url=postgresql://me:{}@127.0.0.1:1/db", "CLAWJAX_LOG_URL"),
        ("--multirun", "log.url=postgresql://127.0.0.1:1/db?password={}", "CLAWJAX_LOG_URL"),
        ("run.dry=true", "reward.llm_judge.base_url=http://me:{}@127.0.0.1:1/v1", "api_key_env"),
        ("--multirun", "engine.sglang.urls=[http://{}@127.0.0.1:1]", "api_key_env"),
    ],
)
def test_a_password_in_a_url_is_refused_and_in_no_file(tmp_path, mode, setting, said):
    key, _, url = setting.format("hunter2-7531").partition("=")
    run = start(tmp_path, f"{key}={url}" if url[0] == "[" else f"{key}='{url}'", mode)
    output, _ = run.communicate(timeout=60)
    assert run.returncode == 2, output
    assert said in output
    assert key in output
    assert "hunter2" not in output
    kept = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert not any(b"hunter2" in file.read_bytes() for file in kept), kept


def test_a_secret_among_what_a_multirun_chooses_is_in_no_file(tmp_path):
    chosen = "reward.own.mine.options={api_key: hunter2},{words: []}"
    run = start(tmp_path, "reward.modules=[mine]", "+reward.own.mine.path=a:b", f"+{chosen}", "-m")
    output, _ = run.communicate(timeout=60)
    assert run.returncode == 2, output
    assert "reward.own.mine.options.api_key would be saved" in output
    assert "hunter2" not in output
    kept = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert not any(b"hunter2" in file.read_bytes() for file in kept), kept


def test_a_password_in_a_jobs_own_file_is_saved_nowhere(tmp_path):
    searched = tmp_path / "searched" / "log"
    searched.mkdir(parents=True)
    url = "postgresql://me:hunter2-7531@127.0.0.1:1/db"  # made-up-secret
    (searched / "mine.yaml").write_text(f"url: {url}\n")
    runs = tmp_path / "runs"
    where = f"hydra.searchpath=[file://{searched.parent}]"
    run = start(runs, where, "log=mine,sqlite", "run.dry=true", "--multirun")
    output, _ = run.communicate(timeout=60)
    assert run.returncode == 2, output
    assert "log.url" in output
    kept = [file for file in runs.rglob("*") if file.is_file()]
    assert not any(b"hunter2" in file.read_bytes() for file in kept), kept


@pytest.mark.parametrize(
    ("program", "status", "said"),
    [
        (["evaluate.py", "suite=quick", "run.dry=true"], 0, "nothing was started"),
        (["evaluate.py", "suite=personal", "run.dry=true"], 0, "Objective combined"),
        (["evaluate.py", "suite=tau", "suite.options.domian=x", "run.dry=true"], 2, "domian"),
        (["evaluate.py", "suite=tau", "suite.tasks=[nope]", "run.dry=true"], 2, "'nope'"),
        (["evaluate.py", "suite=tau", "agent.run=/nowhere", "run.dry=true"], 2, "no weights"),
        (["evaluate.py", "suite=personal", "suite.personas=[x]", "run.dry=true"], 2, "'x'"),
        (["evaluate.py", "suite=judge", "suite.options.atacks=1", "run.dry=true"], 2, "atacks"),
        (["train_offline.py", "offline.files=[/no.jsonl]", "run.dry=true"], 1, "/no.jsonl"),
        (["evaluate.py", "suite=judge", "run.dry=true"], 0, "nothing was started"),
        (["learn.py", "run.dry=true"], 0, "Objective binary_rl"),
        (["train_offline.py", "objective=dpo", "run.plan=true"], 0, "optimizer state"),
        (["synthesize.py", "run.dry=true"], 0, "nothing was started"),
        (["synthesize.py", "synthesis.personas=[nobody]", "run.dry=true"], 2, "nobody"),
        (["synthesize.py", "run.plan=true"], 2, "use run.dry=true"),
    ],
)
def test_a_dry_run_starts_nothing_whichever_program_it_is(tmp_path, program, status, said):
    script, *overrides = program
    if script == "synthesize.py":
        overrides += ["synthesis.base_url=http://127.0.0.1:9/v1", "synthesis.model=nobody"]
    done = subprocess.run(
        [sys.executable, f"experiments/{script}", *overrides],
        cwd=ROOT,
        env={**os.environ, "CLAWJAX_RUNS": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    output = done.stdout + done.stderr
    assert (done.returncode, said in output) == (status, True), output
    assert not any(file.suffix in {".db", ".jsonl"} for file in tmp_path.rglob("*"))


def test_a_dry_run_prints_the_effective_objective(tmp_path):
    run = start(tmp_path, "run.dry=true", "objective.kl_coef=0")
    output = finish(run, 60)
    assert "-min(tr(r) A, clip(r, 0.8, 1.28) A)" in output
    assert "KL to the base" not in output
