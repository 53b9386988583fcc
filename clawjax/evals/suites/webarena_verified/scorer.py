"""Speaking to the published scorer, in a process with an interpreter of its own.

Invariant: there is one process at most and one question at a time; a process that failed to answer
in time or in form is killed and never asked again, the next question starts another. It ends with
its owner, or with this process.
"""

from __future__ import annotations

import asyncio
import json
import os
import select
import subprocess
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from clawjax.errors import EvalError, UnavailableError
from clawjax.evals.harness.process import without_secrets

__all__ = [
    "REQUIREMENT",
    "Evaluated",
    "Installed",
    "PublishedScorer",
    "Question",
    "Verdict",
    "how_to_install",
]

REQUIREMENT = "webarena-verified==1.2.3"

_SCRIPT = Path(__file__).with_name("published.py")
_HOW = f"python -m venv VENV && VENV/bin/pip install {REQUIREMENT}"
_END_S = 5.0
_CHUNK = 65536


@dataclass(frozen=True, slots=True)
class Installed:
    """What the interpreter has."""

    version: str
    data: str
    """Path of the package's task file."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be scored."""

    data: Path
    """The task file."""
    task_id: int
    agent_response: str | None
    """As the agent gave it; None: it gave none."""
    har: Path | None
    """The episode's requests; None where the task is scored without."""
    sites: Mapping[str, Sequence[str]]
    """Addresses by placeholder."""

    def line(self) -> bytes:
        """As the process reads it."""
        asked = {
            "data": str(self.data),
            "task_id": self.task_id,
            "agent_response": self.agent_response,
            "har": None if self.har is None else str(self.har),
            "sites": {name: list(urls) for name, urls in self.sites.items()},
        }
        return json.dumps(asked).encode() + b"\n"


@dataclass(frozen=True, slots=True)
class Evaluated:
    """What one evaluator found."""

    name: str
    score: float
    said: tuple[str, ...]
    """Why not, one line each."""
    error: str | None
    """How it broke down."""

    @classmethod
    def read(cls, told: Mapping[str, Any]) -> Self:
        """From the process's answer; raises as `Verdict.read`."""
        return cls(told["name"], float(told["score"]), tuple(told["said"]), _error_of(told))


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the scorer found."""

    score: float
    evaluators: tuple[Evaluated, ...]
    errors: tuple[str, ...]
    """All that broke down; the score says nothing where anything did."""

    @classmethod
    def read(cls, told: Mapping[str, Any]) -> Self:
        """From the process's answer.

        Raises:
            KeyError, TypeError, ValueError: it is none.
        """
        evaluators = tuple(map(Evaluated.read, told["evaluators"]))
        inside = tuple(each.error for each in evaluators if each.error)
        own = _error_of(told)
        return cls(float(told["score"]), evaluators, inside or ((own,) if own else ()))


def _error_of(told: Mapping[str, Any]) -> str | None:
    if told["status"] not in ("success", "failure", "error"):
        msg = f"status={told['status']!r} is unknown: use success, failure or error"
        raise ValueError(msg)
    return (told["error"] or "no reason given") if told["status"] == "error" else None


class PublishedScorer:
    """Asks the package; started when it is first asked."""

    def __init__(self, python: str, *, timeout_s: float = 60.0, start_s: float = 120.0) -> None:
        """Nothing is started yet.

        Args:
            python: interpreter of the environment with the package.
            timeout_s: longest wait for an answer; the first, for which the package is imported and
                its tasks are read, may take `start_s` longer.
            start_s: longest wait for the process to begin.
        """
        self._python, self._timeout_s, self._start_s = python, timeout_s, start_s
        self._lock = threading.Lock()
        """Keeps one question and its answer together."""
        self._process: _Process | None = None
        self._has_answered = False

    def installed(self) -> Installed:
        """What is there.

        Raises:
            UnavailableError: no interpreter, or one without the package.
        """
        with self._lock:
            return self._started().installed

    async def ask(self, question: Question) -> Verdict:
        """Score.

        Raises:
            EvalError: there was no answer in time, or none that is a verdict.
            UnavailableError: the scorer cannot be started.
        """
        return await asyncio.to_thread(self._ask, question)

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._forget()

    def _ask(self, question: Question) -> Verdict:
        with self._lock:
            process = self._started()
            extra = 0.0 if self._has_answered else self._start_s
            try:
                told = process.exchange(question.line(), self._timeout_s + extra)
                verdict = None if "error" in told else Verdict.read(told["ok"])
            except (OSError, KeyError, TypeError, ValueError) as error:
                self._forget()
                msg = f"task {question.task_id} has no score: {type(error).__name__} {error}"
                raise EvalError(msg) from error
            self._has_answered = True
        if verdict is None:
            msg = f"task {question.task_id} has no score: {told['error']}"
            raise EvalError(msg)
        return verdict

    def _started(self) -> _Process:
        if self._process is None:
            self._process = _Process(self._python, self._start_s)
            self._has_answered = False
        return self._process

    def _forget(self) -> None:
        if self._process is not None:
            self._process.end()
            self._process = None


class _Process:
    """One process, from its first line on."""

    def __init__(self, python: str, start_s: float) -> None:
        try:
            self._process = subprocess.Popen(
                [python, "-I", str(_SCRIPT)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,
                env=_environment(),
                start_new_session=True,  # an interrupted run still scores what it has
            )
        except OSError as error:
            raise UnavailableError(how_to_install(f"{python!r} cannot be run: {error}")) from error
        self.end = weakref.finalize(self, _end, self._process)
        self._held = b""
        assert self._process.stdin is not None
        os.set_blocking(self._process.stdin.fileno(), False)
        try:
            told = self.exchange(b"", start_s)
            found = None if "error" in told else Installed(**told["ok"])
        except (OSError, KeyError, TypeError, ValueError) as error:
            self.end()
            raise UnavailableError(how_to_install(f"{python} did not begin: {error}")) from error
        if found is None:
            self.end()
            raise UnavailableError(how_to_install(told["error"]))
        self.installed = found

    def exchange(self, line: bytes, timeout_s: float) -> Mapping[str, Any]:
        """Write a line and read one.

        Raises:
            TimeoutError: it took too long.
            OSError: the process has ended.
            ValueError: what it wrote is not JSON.
        """
        until = time.monotonic() + timeout_s
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        to, back = self._process.stdin.fileno(), self._process.stdout.fileno()
        while line:
            _wait(to, select.POLLOUT, until, timeout_s)
            line = line[os.write(to, line) :]
        while b"\n" not in self._held:
            _wait(back, select.POLLIN, until, timeout_s)
            chunk = os.read(back, _CHUNK)
            if not chunk:
                msg = "the scorer's process has ended: see its output above"
                raise BrokenPipeError(msg)
            self._held += chunk
        answer, _, self._held = self._held.partition(b"\n")
        return json.loads(answer)


def _environment() -> dict[str, str]:
    """Without secrets, and without what would have another interpreter find this one's packages."""
    kept = without_secrets(os.environ).items()
    return {name: value for name, value in kept if not name.upper().startswith("PYTHON")}


def _wait(descriptor: int, event: int, until: float, timeout_s: float) -> None:
    waiting = select.poll()
    waiting.register(descriptor, event)
    left = until - time.monotonic()
    if left <= 0 or not waiting.poll(left * 1000):
        msg = f"the scorer took over {timeout_s:g} s: raise suite.options.scorer_timeout_s"
        raise TimeoutError(msg)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait(_END_S)
    for pipe in (process.stdin, process.stdout):
        assert pipe is not None
        pipe.close()


def how_to_install(problem: str) -> str:
    """What to do where there is no scorer."""
    return (
        f"WebArena-Verified's scorer is not there ({problem}): {_HOW}, and set "
        "suite.options.scorer_python=VENV/bin/python"
    )
