"""Other projects beside ours, each in its own process and environment.

`benchmarks/peers/setup.sh` makes the environments; `benchmarks/peers/<name>.py` is what runs in
one. A peer loads its model once and then waits, so that it can take turns with the others.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

__all__ = ["Peer", "PeerError", "end"]

_HERE = Path(__file__).parent / "peers"
_STOP_S = 10.0


def end(process: subprocess.Popen[str]) -> None:
    """Close what a process reads, which ends it; kill it if it has not ended soon."""
    assert process.stdin is not None
    with suppress(OSError):  # it has ended already
        process.stdin.close()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(_STOP_S)


class PeerError(Exception):
    """A peer is not installed, failed, or does not answer."""


class Peer:
    """A running peer; use as a context manager.

    Raises:
        PeerError: its environment has not been made.
    """

    def __init__(self, name: str, environment: str | None, *, timeout_s: float = 900.0) -> None:
        """Start `peers/<name>.py` with the Python of `peers/environments/<environment>`.

        None is this Python with all that it can import: our own half of a comparison, in a process
        whose memory is its own.
        """
        python = _python(environment)
        self.name = name
        self._timeout_s = timeout_s
        self._answers: queue.Queue[str | None] = queue.Queue()
        self._process = subprocess.Popen(
            [python, _HERE / f"{name}.py"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=_environment(environment),
        )
        threading.Thread(target=self._listen, daemon=True).start()

    def __enter__(self) -> Self:
        """Nothing more to do: it has been started."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the process."""
        end(self._process)

    def call(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Have it do something, and wait for the answer.

        Raises:
            PeerError: it failed, ended, or took longer than `timeout_s`.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"command": command, **arguments}) + "\n")
            self._process.stdin.flush()
            line = self._answers.get(timeout=self._timeout_s)
        except (OSError, queue.Empty) as error:
            msg = f"{self.name} did not answer {command!r} within {self._timeout_s:g} s"
            raise PeerError(msg) from error
        if line is None:
            msg = f"{self.name} ended during {command!r}: see its output above"
            raise PeerError(msg)
        answer = json.loads(line)
        if "error" in answer:
            msg = f"{self.name} failed at {command!r}: {answer['error']}"
            raise PeerError(msg)
        return answer

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._answers.put(line)
        self._answers.put(None)


def _python(environment: str | None) -> Path:
    if environment is None:
        return Path(sys.executable)
    python = _HERE / "environments" / environment / "bin" / "python"
    if not python.exists():
        msg = f"{python} is missing: run bash benchmarks/peers/setup.sh {environment}"
        raise PeerError(msg)
    return python


def _environment(environment: str | None) -> dict[str, str]:
    known = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return known | ({"PYTHONPATH": os.pathsep.join(sys.path)} if environment is None else {})
