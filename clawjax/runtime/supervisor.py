"""Starts the loops' processes, starts them again when they die, and stops them in order.

A learner that distrusts its own step is left stopped, and serving goes on without it.
Invariant: no process outlives the supervisor's `stop`; none is signalled that it did not start.
"""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import psutil

from clawjax.errors import ClawError, ConfigError
from clawjax.runtime.child import EXIT_CONFIG, EXIT_DISTRUST, PARENT_PID
from clawjax.runtime.paths import RunPaths

__all__ = ["Supervisor"]

_log = logging.getLogger(__name__)

_STABLE_S = 600.0
"""A process that ran for so long is not one that keeps dying: its restarts are counted anew."""


@dataclass
class _Child:
    name: str
    arguments: tuple[str, ...]
    stdin: str
    is_restarted: bool
    process: subprocess.Popen[bytes]
    started_at: float
    may_end: bool = False
    restarts: int = 0
    """Since it last ran for `_STABLE_S`."""


@dataclass
class Supervisor:
    """The children of this process, by name."""

    paths: RunPaths
    max_restarts: int
    clock: Callable[[], float] = time.monotonic
    rss_bytes: int = 0
    """Sum over this process and its children, as of the last `poll`."""
    peak_rss_bytes: int = 0
    """The highest such sum."""
    notices: list[str] = field(default_factory=list)
    """What a person should know; whoever tells it takes it out."""
    _children: dict[str, _Child] = field(default_factory=dict)

    def start(
        self,
        name: str,
        *arguments: str,
        stdin: str,
        is_restarted: bool = True,
        may_end: bool = False,
    ) -> None:
        """Run `python -m ARGUMENTS` with `stdin`, its output appended to the process log.

        Args:
            name: how the process is called in messages and files.
            arguments: module and its arguments.
            stdin: sent to it, then closed.
            is_restarted: whether it is started again when it dies; otherwise it may end.
            may_end: whether it is done, rather than dead, when it ends with 0.
        """
        process = self._spawn(name, arguments, stdin)
        self._children[name] = _Child(
            name, arguments, stdin, is_restarted, process, self.clock(), may_end
        )

    def poll(self) -> None:
        """Measure memory and start again what died.

        Raises:
            ConfigError: a child said that its configuration cannot run.
            ClawError: a child died more often than `max_restarts`, each time soon.
        """
        self._measure()
        for child in self._children.values():
            code = child.process.poll()
            if code == 0 and child.may_end:
                child.is_restarted = False
            elif code is not None and child.is_restarted:
                self._restart(child, code)

    def has_ended(self, name: str) -> bool:
        """Whether a child has ended and is not started again, as of the last `poll`."""
        child = self._children[name]
        return not child.is_restarted and child.process.poll() is not None

    def wait(self, name: str) -> int:
        """Block until a child ends; returns its exit code."""
        return self._children[name].process.wait()

    def pid(self, name: str) -> int:
        """The process id of a running child."""
        return self._children[name].process.pid

    def stop(self, *names: str, timeout_s: float = 60.0) -> None:
        """End children in the order given: ask, wait, then insist."""
        for name in names:
            child = self._children.pop(name, None)
            if child is None or child.process.poll() is not None:
                continue
            child.process.terminate()
            try:
                child.process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                _log.warning("%s did not stop within %.0f s: killing it", name, timeout_s)
                child.process.kill()
                child.process.wait(timeout_s)

    def stop_all(self) -> None:
        """End every child: who asks first, who answers, who learns last."""
        self.stop("user", "serve", "learn", *self._children)

    def tail(self, name: str, lines: int = 15) -> str:
        """The end of a child's log."""
        text = self.paths.process_log(name).read_text(errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    def _restart(self, child: _Child, code: int) -> None:
        if code == EXIT_CONFIG:
            raise ConfigError(self.tail(child.name, 1).removeprefix("Configuration error: "))
        if code == EXIT_DISTRUST:
            child.is_restarted = False
            notice = f"{child.name} has stopped, the rest goes on: {self.tail(child.name, 1)}"
            _log.error("%s", notice)
            self.notices.append(notice)
            return
        if self.clock() - child.started_at >= _STABLE_S:
            child.restarts = 0
        if child.restarts >= self.max_restarts:
            msg = (
                f"{child.name} died {child.restarts + 1} times (last exit code {code}; "
                f"run.max_restarts={self.max_restarts}). The end of its log:\n"
                f"{self.tail(child.name)}"
            )
            raise ClawError(msg)
        child.restarts += 1
        child.started_at = self.clock()
        _log.warning("%s ended with code %s: restart %d", child.name, code, child.restarts)
        child.process = self._spawn(child.name, child.arguments, child.stdin)

    def _spawn(self, name: str, arguments: tuple[str, ...], stdin: str) -> subprocess.Popen[bytes]:
        with self.paths.process_log(name).open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *arguments],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env={**os.environ, PARENT_PID: str(os.getpid())},
                start_new_session=True,  # Ctrl-C reaches this process only, which stops in order
            )
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError), process.stdin:
            process.stdin.write(stdin.encode() + b"\n")
        return process

    def _measure(self) -> None:
        total = psutil.Process().memory_info().rss
        for child in self._children.values():
            with contextlib.suppress(psutil.NoSuchProcess):
                root = psutil.Process(child.process.pid)
                for process in (root, *root.children(recursive=True)):
                    total += process.memory_info().rss
        self.rss_bytes = total
        self.peak_rss_bytes = max(self.peak_rss_bytes, total)
