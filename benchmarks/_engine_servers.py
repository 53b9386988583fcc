"""Engine servers, and a router before them, in processes of their own; killed and started again.

Invariant: what was started is stopped, however the measurement ends; being killed is one way.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from clawjax.engine.sglang.launch import tethered
from clawjax.testing import free_port

__all__ = [
    "EngineServer",
    "find_router",
    "free_port",
    "running_router",
    "running_servers",
    "until_answering",
]

_START_TIMEOUT_S = 300.0
_STOP_TIMEOUT_S = 20.0
_LOOK_S = 0.1
_TAIL = 3000
"""Characters of a log that a message quotes."""


@dataclass
class EngineServer:
    """`python -m clawjax.engine.server` on a port of its own."""

    options: Sequence[str]
    log: Path
    port: int = field(default_factory=lambda: free_port())
    _process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it is, also while it is not there."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Of the process that runs."""
        assert self._process is not None, "it was not started"
        return self._process.pid

    def start(self) -> None:
        """Start it, perhaps again; see `until_ready`."""
        command = [sys.executable, "-m", "clawjax.engine.server", f"--port={self.port}"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                tethered([*command, *self.options]), stdout=log, stderr=log
            )

    def until_ready(self) -> None:
        """Wait until it answers.

        Raises:
            RuntimeError: it ends before, or takes five minutes; with what it had to say.
        """
        assert self._process is not None, "it was not started"
        until_answering(self.url, self._process, self.log)

    def kill(self) -> None:
        """End it at once, as a crash does."""
        assert self._process is not None, "it was not started"
        self._process.kill()
        self._process.wait(_STOP_TIMEOUT_S)

    def stop(self) -> None:
        """Ask it to end, and make it."""
        if self._process is not None:
            _end(self._process)


@contextmanager
def running_servers(
    count: int, folder: Path, *, model: str, context_length: int, options: Sequence[str] = ()
) -> Generator[list[EngineServer]]:
    """So many servers that answer, called `tiny`; logs and compiled programs are kept in `folder`.

    Raises:
        RuntimeError: one does not start.
    """
    shared = [
        f"--model-path={model}",
        "--served-model-name=tiny",
        f"--context-length={context_length}",
        "--max-running-requests=16",
        "--chunked-prefill-size=32",
        "--kept-prefixes=0",
        f"--compilation-cache={folder / 'xla'}",
        *options,
    ]
    servers = [EngineServer(shared, folder / f"server{n}.log") for n in range(count)]
    with ExitStack() as stack:
        for server in servers:
            stack.callback(server.stop)
            server.start()
        for server in servers:
            server.until_ready()
        yield servers


def find_router() -> str | None:
    """The program `sglang-router`, by CLAWJAX_TEST_ROUTER or on the path; None: there is none.

    `pip install sglang-router`, in an environment of its own if you like.
    """
    return os.environ.get("CLAWJAX_TEST_ROUTER") or shutil.which("sglang-router")


@contextmanager
def running_router(program: str, urls: Sequence[str], folder: Path) -> Generator[str]:
    """SGLang's router before some servers; its address.

    Raises:
        RuntimeError: it does not start.
    """
    port, log = free_port(), folder / "router.log"
    command = [
        program, "launch", "--host", "127.0.0.1", "--port", str(port),
        "--prometheus-port", str(free_port()), "--policy", "round_robin",
        "--health-check-interval-secs", "1", "--worker-startup-check-interval", "1",
        "--retry-max-retries", "1", "--worker-urls", *urls,
    ]  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    with log.open("wb") as output:
        process = subprocess.Popen(tethered(command), stdout=output, stderr=output)
    try:
        until_answering(url, process, log)
        yield url
    finally:
        _end(process)


def until_answering(
    url: str,
    process: subprocess.Popen[bytes],
    log: Path,
    *,
    path: str = "/health",
    timeout_s: float = _START_TIMEOUT_S,
) -> None:
    """Wait until a server that was just started answers at `path`.

    Raises:
        RuntimeError: it ended, or did not in time; the end of its log is in the message.
    """
    deadline = time.monotonic() + timeout_s
    with httpx.Client(base_url=url, trust_env=False, timeout=5.0) as client:
        while time.monotonic() < deadline and process.poll() is None:
            try:
                client.get(path).raise_for_status()
            except httpx.HTTPError:
                time.sleep(_LOOK_S)
            else:
                return
    said = log.read_text(encoding="utf-8", errors="replace")[-_TAIL:]
    msg = f"{url} did not start:\n{said}"
    raise RuntimeError(msg)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(_STOP_TIMEOUT_S)
