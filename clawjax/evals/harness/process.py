"""Environments in processes of their own, a bounded number of them.

Invariant: a process that broke down, or did not answer in time, is killed with all that it started
and never used again, and leaves no files; one that ended its episode in order is reset for the
next.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import psutil

from clawjax.evals.harness.failures import EnvironmentFailure
from clawjax.evals.harness.protocols import Launch
from clawjax.evals.harness.tasks import Action, Setup
from clawjax.evals.harness.trajectory import StepResult, from_json, to_json

__all__ = ["EnvironmentPool", "EnvironmentProcess", "without_secrets"]

logger = logging.getLogger(__name__)

_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL", re.IGNORECASE)
_MARK = "CLAWJAX_ENVIRONMENT_FOLDER"
"""The variable by which a worker's descendants are known after it has ended."""
_LINE_BYTES = 64 * 2**20
_EXIT_S = 5.0
_START_S = 120.0


class EnvironmentProcess:
    """One environment, spoken to from an event loop; the methods are those of `Environment`."""

    def __init__(self, process: asyncio.subprocess.Process, timeout_s: float, folder: str) -> None:
        """Wrap a running worker and its folder; `start` makes one."""
        self._process = process
        self._timeout_s = timeout_s
        self._folder = folder
        self.is_broken = False

    @classmethod
    async def start(cls, launch: Launch, folder: str) -> EnvironmentProcess:
        """Start a worker in a folder of its own in `folder` and let it make its environment.

        Raises:
            EnvironmentFailure: it does not start, or cannot be made.
        """
        own = tempfile.mkdtemp(dir=folder)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "clawjax.evals.harness.worker",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            cwd=own,
            env=_environment({"TMPDIR": own} | dict(launch.variables) | {_MARK: own}),
            limit=_LINE_BYTES,
            start_new_session=True,
        )
        started = cls(process, launch.timeout_s, own)
        request = {"op": "make", "factory": launch.factory, "options": dict(launch.options)}
        try:
            await started._ask(request, timeout_s=max(_START_S, launch.timeout_s))
        except BaseException:
            await started.aclose()
            raise
        return started

    async def reset(self, setup: Setup) -> str:
        """As `Environment.reset`.

        Raises:
            EnvironmentFailure: it raised, died, or took too long. So for the others.
        """
        return await self._ask({"op": "reset", "setup": to_json(setup)})

    async def step(self, action: Action) -> StepResult:
        """As `Environment.step`."""
        return from_json(StepResult, await self._ask({"op": "step", "action": to_json(action)}))

    async def snapshot(self) -> Mapping[str, Any]:
        """As `Environment.snapshot`."""
        return await self._ask({"op": "snapshot"})

    async def inspect(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """As `Environment.inspect`."""
        return await self._ask({"op": "inspect", "request": dict(request)})

    async def aclose(self) -> None:
        """End the process, with all that it started, and remove what they wrote for themselves."""
        stdin = self._process.stdin
        try:
            if stdin is not None and not self.is_broken:
                stdin.close()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_EXIT_S):
                        await self._process.wait()
        finally:
            self._kill()
        if stdin is not None and not stdin.transport.is_closing():
            stdin.transport.abort()  # `wait` also waits for the pipes
        try:
            async with asyncio.timeout(_EXIT_S):
                await self._process.wait()
        except TimeoutError:
            logger.warning("what environment worker %d started keeps its pipe", self._process.pid)
        await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)

    def _kill(self) -> None:
        """Kill the process, its group, and what bears its mark with all that descends from it."""
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                if process.environ().get(_MARK) == self._folder:
                    for each in (process, *process.children(recursive=True)):
                        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                            each.kill()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    async def _ask(self, request: Mapping[str, Any], timeout_s: float | None = None) -> Any:
        limit = timeout_s or self._timeout_s
        is_answered = False
        try:
            async with asyncio.timeout(limit):
                reply = await self._exchange(request)
            is_answered = True
        except TimeoutError as error:
            msg = f"{request['op']} took over {limit:g} s: raise the suite's launch.timeout_s"
            raise EnvironmentFailure(msg) from error
        finally:
            self.is_broken = self.is_broken or not is_answered
        if "error" in reply:
            self.is_broken = True
            msg = f"{request['op']}: {reply['error']}\n{reply.get('trace', '')}"
            raise EnvironmentFailure(msg, is_outside=reply["is_outside"])
        return reply["ok"]

    async def _exchange(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write((json.dumps(request) + "\n").encode())
            await self._process.stdin.drain()
            line = await self._process.stdout.readline()
        except (ConnectionError, ValueError) as error:  # ValueError: a line over the limit
            raise EnvironmentFailure(f"{request['op']}: {error}") from error
        if not line.endswith(b"\n"):
            code = await self._process.wait()
            msg = f"{request['op']}: the environment's process ended with {code}"
            raise EnvironmentFailure(msg)
        return json.loads(line, parse_constant=_not_told)


class EnvironmentPool:
    """Up to `size` environments of one kind; who finds none free waits. Made by `open`."""

    def __init__(self, launch: Launch, size: int, folder: str) -> None:
        """Nothing is started before it is needed."""
        self._launch = launch
        self._folder = folder
        self._gate = asyncio.Semaphore(size)
        self._free: list[EnvironmentProcess] = []

    @classmethod
    @asynccontextmanager
    async def open(cls, launch: Launch, size: int) -> AsyncIterator[EnvironmentPool]:
        """A pool whose processes end with the context."""
        with tempfile.TemporaryDirectory(
            prefix="clawjax-env-", ignore_cleanup_errors=True
        ) as folder:
            pool = cls(launch, size, folder)
            try:
                yield pool
            finally:
                await asyncio.gather(*(environment.aclose() for environment in pool._free))

    @asynccontextmanager
    async def environment(self) -> AsyncIterator[EnvironmentProcess]:
        """One for an episode.

        Raises:
            EnvironmentFailure: none can be started.
        """
        async with self._gate:
            if self._free:
                environment = self._free.pop()
            else:
                environment = await EnvironmentProcess.start(self._launch, self._folder)
            is_done = False
            try:
                yield environment
                is_done = True
            finally:
                if is_done and not environment.is_broken:
                    self._free.append(environment)
                else:
                    environment.is_broken = True
                    await environment.aclose()


def without_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that another process may see: those whose name speaks of no secret."""
    return {name: value for name, value in environment.items() if not _SECRET.search(name)}


def _not_told(constant: str) -> None:
    """NaN and infinities, which no record can hold: the environment has not said."""


def _environment(added: Mapping[str, str]) -> dict[str, str]:
    known = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return without_secrets(os.environ) | known | dict(added)
