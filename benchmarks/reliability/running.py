"""A run as a user starts it, `experiments/run.py`, whose processes are killed at will.

Owns the processes it started. Invariants: nothing else is signalled; nothing is left when the
context ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import psutil

__all__ = ["LEARN", "RUN", "SERVE", "Run"]

_ROOT = Path(__file__).resolve().parents[2]
SERVE, LEARN, RUN = "serve", "learn", "run"
"""Gateway, engine and judges; the learner; the supervisor of both."""
_MODULES = {SERVE: "clawjax.runtime.serve", LEARN: "clawjax.runtime.learn"}
_POLL_S = 0.1
_START_TIMEOUT_S = 1800.0
_STOP_TIMEOUT_S = 180.0
"""Each of the loops' processes has a minute."""
_ORPHANS_TIMEOUT_S = 120.0
_HEALTH_TIMEOUT_S = 5.0


@dataclass(slots=True)
class Run:
    """Made by `started`; everything is in `folder`, and `overrides` are those of every start."""

    folder: Path
    overrides: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    port: int = 0
    _process: subprocess.Popen[bytes] | None = None
    _seen: list[psutil.Process] = field(default_factory=list)
    """Children of supervisors that were killed."""

    @classmethod
    @contextmanager
    def started(
        cls, folder: Path, *overrides: str, env: Mapping[str, str] | None = None
    ) -> Generator[Run]:
        """A run that serves, on a port that stays the same."""
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = listener.getsockname()[1]
        run = cls(folder, overrides, env or {}, port)
        try:
            run.start()
            run.until(run.is_whole)
            yield run
        finally:
            run._kill_all()

    @property
    def base_url(self) -> str:
        """Where clients go."""
        return f"http://127.0.0.1:{self.port}/v1"

    def start(self) -> None:
        """The command that a user types, the same each time."""
        with (self.folder.parent / "run.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "experiments/run.py",
                    *self.overrides,
                    f"run.name={self.folder.name}",
                    f"gateway.port={self.port}",
                    "monitor.live=false",
                ],
                cwd=_ROOT,
                env={**os.environ, **self.env, "CLAWJAX_RUNS": str(self.folder.parent)},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def is_whole(self) -> bool:
        """Whether replies can be had and the learner looks for turns."""
        health = self.health()
        learner = health.get("loops", {}).get("learn", {}).get("state")
        return bool(health.get("ok")) and learner in ("waiting", "training")

    def health(self) -> dict:
        """What `/healthz` says; empty where nobody answers."""
        url = f"http://127.0.0.1:{self.port}/healthz"
        try:
            with urlopen(url, timeout=_HEALTH_TIMEOUT_S) as answer:
                return json.load(answer)
        except (URLError, OSError, ValueError):
            return {}

    def until(self, holds: Callable[[], bool], timeout_s: float = _START_TIMEOUT_S) -> None:
        """Wait.

        Raises:
            RuntimeError: the run ended, or it does not come true.
        """
        deadline = time.monotonic() + timeout_s
        while not holds():
            ended = self._running().poll() is not None
            if ended or time.monotonic() > deadline:
                what = "the run has ended" if ended else f"nothing happened for {timeout_s:g} s"
                said = (self.folder.parent / "run.log").read_text(errors="replace")[-2000:]
                msg = f"{what}; it said:\n{said}"
                raise RuntimeError(msg)
            time.sleep(_POLL_S)

    def kill(self, name: str) -> None:
        """End a process as `kill -9` does, once it is there; without a supervisor, start anew."""
        self.until(lambda: self._find(name) is not None)
        process = self._find(name)
        if process is None:  # it died just now, of itself
            return
        if name == RUN:
            self._seen += process.children(recursive=True)
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGKILL)
        if name == RUN:
            self._running().wait(_STOP_TIMEOUT_S)
            _, alive = psutil.wait_procs(self._seen, timeout=_ORPHANS_TIMEOUT_S)
            if alive:
                msg = f"{alive} outlived their supervisor by {_ORPHANS_TIMEOUT_S:g} s"
                raise RuntimeError(msg)
            self._seen.clear()
            self.start()

    def stop(self) -> float:
        """Ask the run to end; returns how many seconds that took.

        Raises:
            RuntimeError: it says that something went wrong.
        """
        began = time.monotonic()
        process = self._running()
        process.send_signal(signal.SIGTERM)
        code = process.wait(_STOP_TIMEOUT_S)
        if code != 0:
            msg = f"the run ended with code {code} when it was told to stop: see {self.folder}"
            raise RuntimeError(msg)
        return time.monotonic() - began

    def pids(self) -> dict[str, int]:
        """The process ids by name, of those that there are."""
        found = {name: self._find(name) for name in (SERVE, LEARN, RUN)}
        return {name: process.pid for name, process in found.items() if process is not None}

    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    def _find(self, name: str) -> psutil.Process | None:
        if self._running().poll() is not None:
            return None
        try:
            supervisor = psutil.Process(self._running().pid)
            if name == RUN:
                return supervisor
            for child in supervisor.children():
                with contextlib.suppress(psutil.NoSuchProcess):  # a zombie, or just gone
                    if _MODULES[name] in " ".join(child.cmdline()):
                        return child
        except psutil.NoSuchProcess:
            pass
        return None

    def _kill_all(self) -> None:
        process = self._find(RUN)
        found = [*self._seen, *([] if process is None else process.children(recursive=True))]
        if self._running().poll() is None:
            self._running().kill()
        self._running().wait(_STOP_TIMEOUT_S)
        for child in found:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        psutil.wait_procs(found, timeout=_ORPHANS_TIMEOUT_S)
