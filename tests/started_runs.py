"""Runs as a user starts them, what becomes of them, and somebody who talks to them."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil
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


def finish(run: subprocess.Popen[str], timeout_s: float = 240) -> str:
    output, _ = run.communicate(timeout=timeout_s)
    assert run.returncode == 0, output
    return output


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


SERVE = ("model=tiny", "engine=tiny", "learner=tiny", "learner.idle_s=0.5", "gateway.port=0")
