"""Starts the loops' processes, starts them again when they die, and stops them in order.

Who dies again soon is started again after growing pauses. A process that the others can do without,
the learner, is left stopped when it keeps dying or distrusts its own step, and serving goes on.
Invariants: no process outlives the supervisor's `stop`; none is signalled that it did not start;
what has become of each is in `RunPaths.processes`, for `/healthz` and `clawjax status`.
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
from clawjax.runtime.child import EXIT_CONFIG, EXIT_DISTRUST, EXIT_STORAGE, PARENT_PID
from clawjax.runtime.limiting import last_lines, limit_logs
from clawjax.runtime.logs import message_of
from clawjax.runtime.paths import RunPaths, note_json
from clawjax.runtime.patience import Patience

__all__ = ["Supervisor"]

logger = logging.getLogger(__name__)

_STOP_TIMEOUT_S = 60.0
"""How long each process may take to end once it was asked to."""


@dataclass
class _Child:
    name: str
    arguments: tuple[str, ...]
    stdin: str
    is_restarted: bool
    process: subprocess.Popen[bytes]
    patience: Patience
    may_end: bool = False
    is_needed: bool = True
    due_at: float | None = None
    """When it is started again; None while it runs."""
    state: str = "running"
    reason: str = ""
    """Its last words, where it does not run."""


@dataclass
class Supervisor:
    """The children of this process, by name."""

    paths: RunPaths
    max_restarts: int
    max_restart_wait_s: float = 30.0
    is_noted: bool = True
    """Whether it is this supervisor whose children `RunPaths.processes` is about."""
    max_log_bytes: int | None = None
    """A log in the run's folder that has so many is set aside; None lets them grow."""
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
        is_needed: bool = True,
    ) -> None:
        """Run `python -m ARGUMENTS` with `stdin`, its output appended to the process log.

        Args:
            name: how the process is called in messages and files.
            arguments: module and its arguments.
            stdin: sent to it, then closed.
            is_restarted: whether it is started again when it dies; otherwise it may end.
            may_end: whether it is done, rather than dead, when it ends with 0.
            is_needed: whether the run ends when it keeps dying; otherwise it is left stopped.
        """
        self._children[name] = _Child(
            name,
            arguments,
            stdin,
            is_restarted,
            self._spawn(name, arguments, stdin),
            Patience(self.max_restarts, self.max_restart_wait_s, self.clock()),
            may_end,
            is_needed,
        )
        self._note()

    def poll(self) -> None:
        """Measure memory, start again what died, and set aside logs that are too large.

        Raises:
            ConfigError: a child said that its configuration cannot run.
            ClawError: a child that is needed died more often than `max_restarts`, each time soon.
        """
        self._measure()
        for child in tuple(self._children.values()):  # `stop` may be at work in another thread
            code = child.process.poll()
            if code == 0 and child.may_end:
                child.is_restarted = False
            elif code is not None and child.is_restarted:
                if child.due_at is None:
                    self._bury(child, code)
                if child.due_at is not None and self.clock() >= child.due_at:
                    self._revive(child)
        if self.max_log_bytes is not None:
            limit_logs(self.paths.process_log("supervisor").parent, self.max_log_bytes)

    def has_ended(self, name: str) -> bool:
        """Whether a child has ended and is not started again, as of the last `poll`."""
        child = self._children[name]
        return not child.is_restarted and child.process.poll() is not None

    def left_stopped(self, name: str) -> str:
        """Why a child is not started again although it is not done; empty where that is not so."""
        child = self._children[name]
        return child.reason if child.state == "stopped" else ""

    def wait(self, name: str) -> int:
        """Block until a child ends; returns its exit code."""
        return self._children[name].process.wait()

    def pid(self, name: str) -> int:
        """The process id of a running child."""
        return self._children[name].process.pid

    def stop(self, *names: str, timeout_s: float = _STOP_TIMEOUT_S) -> None:
        """End children in the order given: ask, wait, then insist."""
        for name in names:
            child = self._children.pop(name, None)
            if child is None:
                continue
            child.is_restarted = False
            if child.process.poll() is not None:
                continue
            child.process.terminate()
            try:
                child.process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                logger.warning("%s did not stop within %.0f s: killing it", name, timeout_s)
                child.process.kill()
                self._await_killed(child, name, timeout_s)

    def _await_killed(self, child: _Child, name: str, timeout_s: float) -> None:
        try:
            child.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            # The kernel holds it: the others are stopped all the same.
            logger.error("%s (process %d) is killed and does not end", name, child.process.pid)

    def stop_all(self) -> None:
        """End every child: who asks first, who answers, who learns last."""
        self.stop("user", "serve", "learn", *self._children)

    def tail(self, name: str, lines: int = 15) -> str:
        """The end of a child's log."""
        return last_lines(self.paths.process_log(name), lines)

    def _bury(self, child: _Child, code: int) -> None:
        """Decide when a child that has died is started again, if at all."""
        has_worked = child.patience.deaths > 0
        if code == EXIT_CONFIG and (child.is_needed or not has_worked):
            words = self._last_words(child, code)
            raise ConfigError(words.removeprefix("Configuration error: "))
        if code in (EXIT_CONFIG, EXIT_DISTRUST):
            words = self._last_words(child, code)
            self._leave(child, f"{child.name} has stopped, the rest goes on: {words}")
            return
        is_storage = code == EXIT_STORAGE
        wait_s = child.patience.wait_s(self.clock(), counts=not is_storage)
        if wait_s is None:
            self._give_up(child, code)
            return
        child.due_at = self.clock() + wait_s
        child.state, child.reason = "restarting", self._last_words(child, code)
        number = child.patience.restarts
        logger.warning(
            "%s ended with code %s: restart %d in %.0f s", child.name, code, number, wait_s
        )
        if is_storage:
            self.notices.append(f"{child.name} begins again in {wait_s:.0f} s: {child.reason}")
        self._note()

    def _give_up(self, child: _Child, code: int) -> None:
        died = (
            f"{child.name} died {child.patience.restarts + 1} times (last exit code {code}; "
            f"run.max_restarts={self.max_restarts})"
        )
        if child.is_needed:
            msg = f"{died}. The end of its log:\n{self.tail(child.name)}"
            raise ClawError(msg)
        words, file = self._last_words(child, code), self.paths.process_log(child.name)
        self._leave(child, f"{died}, the rest goes on: {words} ({file} has more)")

    def _leave(self, child: _Child, notice: str) -> None:
        """It is not started again; say so where people look."""
        child.is_restarted = False
        child.state, child.reason = "stopped", notice
        logger.error("%s", notice)
        self.notices.append(notice)
        self._note()

    def _revive(self, child: _Child) -> None:
        child.process = self._spawn(child.name, child.arguments, child.stdin)
        child.due_at = None
        child.state, child.reason = "running", ""
        self._note()

    def _last_words(self, child: _Child, code: int) -> str:
        """Of a process that was killed, what it logged last says nothing."""
        if code < 0:
            return f"killed by signal {-code}"
        return message_of(self.tail(child.name, 1))

    def _note(self) -> None:
        """Where `/healthz`, which another process answers, and `clawjax status` find it."""
        if not self.is_noted:
            return
        told = {
            child.name: {
                "state": child.state,
                "restarts": child.patience.restarts,
                "reason": child.reason,
            }
            for child in tuple(self._children.values())
        }
        note_json(self.paths.processes, told)

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
        for child in tuple(self._children.values()):
            with contextlib.suppress(psutil.NoSuchProcess):
                root = psutil.Process(child.process.pid)
                for process in (root, *root.children(recursive=True)):
                    total += process.memory_info().rss
        self.rss_bytes = total
        self.peak_rss_bytes = max(self.peak_rss_bytes, total)
