"""Server processes of our own: started, waited for, started again with growing pauses, stopped.

Invariant: none outlives this process, and none is left behind by `aclose`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from clawjax.config import GatewayConfig, LaunchConfig
from clawjax.config.hosts import port_to_listen_at, url_of
from clawjax.engine.sglang.handing import HandedKey
from clawjax.errors import ConfigError

__all__ = ["Launched", "command_line", "server_url", "tethered"]

logger = logging.getLogger(__name__)

_POLL_S = 0.2
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 60.0
_SETTLED_S = 600.0
"""A server that has lived so long has not failed in a row."""
_TETHER = Path(__file__).with_name("tether.py")
_CALLERS_KEY = GatewayConfig().api_key_env
_TAIL = 2000
"""Characters of its log that a message quotes."""


class Launched:
    """One server process and whoever keeps it alive."""

    def __init__(
        self,
        config: LaunchConfig,
        index: int,
        *,
        model: str,
        revision: str | None,
        served_name: str,
        context_length: int,
        log: Path,
        api_key: str | None = None,
        on_exit: Callable[[str], None],
        pause_s: float = _FIRST_PAUSE_S,
    ) -> None:
        """Nothing runs before `start`.

        Args:
            config: how servers are started.
            index: which of them this is.
            model: what it loads.
            revision: of a hub model; None: its default branch.
            served_name: what it calls it.
            context_length: tokens of prompt and reply that it has to take.
            log: where its output goes.
            api_key: what it is to ask callers for; handed over as `config.key_by` says.
            on_exit: told whenever the process has ended unasked.
            pause_s: before the first restart; doubles with each one.
        """
        self.url = server_url(config, index)
        self.log = log
        self.has_given_up = False
        self._config = config
        self._on_exit = on_exit
        self._port = config.port + index
        self._pause_s = pause_s
        self._command = command_line(
            config,
            index,
            model=model,
            revision=revision,
            served_name=served_name,
            context_length=context_length,
        )
        self._key = HandedKey(api_key, config.key_by)
        self._env = _environment(config, index)
        self._claim: socket.socket | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._keeper: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the process and keep it running.

        Raises:
            ConfigError: there is no such program, or somebody has the port and keeps it.
        """
        await self._have_port()
        await self._spawn()
        self._keeper = asyncio.create_task(self._keep(), name=f"keep {self.url}")

    async def aclose(self) -> None:
        """Ask it to stop, and make it."""
        try:
            if self._keeper is not None:
                self._keeper.cancel()
                await asyncio.wait([self._keeper], timeout=self._config.stop_timeout_s)
            await self._stop()
        finally:
            self._key.take_back()
            if self._claim is not None:
                self._claim.close()

    def tail(self) -> str:
        """The end of its log, and what to do where it tells of the way it was given its key."""
        try:
            text = self.log.read_text(encoding="utf-8", errors="replace")[-_TAIL:].strip()
        except OSError as error:
            return f"(no log: {error})"
        return text + self._key.advice(text)

    async def _have_port(self) -> None:
        """Claim the port, and wait until it is free: a server of the last start may be ending."""
        deadline = time.monotonic() + self._config.stop_timeout_s
        while True:
            try:
                self._claim = self._claim or _claim(self._config.host, self._port)
                _require_free(self._config.host, self._port)
            except ConfigError:
                if time.monotonic() > deadline:
                    raise
            else:
                return
            await asyncio.sleep(_POLL_S)

    async def _spawn(self) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        program = self._command[0]
        if shutil.which(program) is None:
            msg = (
                f"engine.sglang.launch.command={self._config.command} cannot be started: there is "
                f"no program {program!r}; install the server, or name what starts it"
            )
            raise ConfigError(msg)
        _require_free(self._config.host, self._port)
        logger.info("starting %s: %s", self.url, " ".join(self._command))
        with self.log.open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                *tethered([*self._command, *self._key.hand_over()]),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=self._env,
                start_new_session=True,
            )

    async def _keep(self) -> None:
        restarts, began = 0, time.monotonic()
        why = await self._death()
        while True:
            restarts = 1 if time.monotonic() - began > _SETTLED_S else restarts + 1
            if restarts > self._config.max_restarts:
                self.has_given_up = True
                logger.error("%s: %s; it is not started again:\n%s", self.url, why, self.tail())
                self._on_exit(f"{why}; not started again after {restarts - 1} restarts")
                return
            self._on_exit(why)
            pause_s = min(self._pause_s * 2 ** (restarts - 1), _LONGEST_PAUSE_S)
            logger.warning("%s is started again in %.0f s: %s", self.url, pause_s, why)
            await asyncio.sleep(pause_s)
            began = time.monotonic()
            try:
                await self._spawn()
            except (ConfigError, OSError) as error:
                why = f"it cannot be started ({error})"
            else:
                why = await self._death()

    async def _death(self) -> str:
        """Wait for the end of the process; what became of it."""
        assert self._process is not None, "start comes first"
        code = await self._process.wait()
        _signal_group(self._process.pid, signal.SIGKILL)  # what it has started holds its port
        self._process = None  # its number may be somebody else's from now on
        return f"its process has ended with code {code}, see {self.log}"

    async def _stop(self) -> None:
        process = self._process
        if process is None:
            return
        try:
            await self._end(process)
        finally:
            _signal_group(process.pid, signal.SIGKILL)  # what outlives it

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        if process.returncode is not None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            _signal_group(process.pid, number)
            try:
                async with asyncio.timeout(self._config.stop_timeout_s):
                    await process.wait()
            except TimeoutError:
                logger.warning("%s does not stop on %s", self.url, number.name)
            else:
                return


def tethered(command: Sequence[str]) -> list[str]:
    """The command of a program that ends when the thread that starts it does, however it ends.

    On Linux the process that is started becomes the program; see `tether`.
    """
    return [sys.executable, str(_TETHER), str(os.getpid()), *command]


def server_url(config: LaunchConfig, index: int) -> str:
    """Where server number `index` listens."""
    return url_of(config.host, config.port + index)


def command_line(
    config: LaunchConfig,
    index: int,
    *,
    model: str,
    revision: str | None,
    served_name: str,
    context_length: int,
) -> list[str]:
    """What starts server number `index`; its options are those SGLang and sglang-jax share."""
    options: dict[str, object] = {
        "--model-path": model,
        "--revision": revision,
        "--served-model-name": served_name,
        "--context-length": context_length,
        "--host": config.host,
        "--port": config.port + index,
        "--tp-size": config.tp if config.tp > 1 else None,
        "--mem-fraction-static": config.memory_fraction,
        "--tool-call-parser": config.tool_parser,
        "--reasoning-parser": config.reasoning_parser,
    }
    words = [str(w) for name, value in options.items() if value is not None for w in (name, value)]
    if config.lora_rank:
        words += ["--enable-lora", "--max-lora-rank", str(config.lora_rank)]
        words += ["--lora-target-modules", *config.lora_targets]
    return [*config.command, *words, *config.options]


def _environment(config: LaunchConfig, index: int) -> dict[str, str]:
    """This process's, without the key that its own callers show: a server is handed another."""
    inherited = {name: value for name, value in os.environ.items() if name != _CALLERS_KEY}
    devices = {"CUDA_VISIBLE_DEVICES": config.devices[index]} if config.devices else {}
    return {**inherited, **devices, **config.env}


def _claim(host: str, port: int) -> socket.socket:
    """Keep others from launching at a port until this is closed, or the process has ended.

    A server listens only once it has loaded its model. Until then two runs would find the port
    free, and one would take the other's server for its own.

    Raises:
        ConfigError: another process launches there.
    """
    claim = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    if sys.platform != "linux":  # which alone has names without files
        return claim
    try:
        claim.bind(f"\0clawjax-launch-{port}")
    except OSError as error:
        claim.close()
        msg = (
            f"another process launches a server on {host}:{port}: stop it, or set "
            "engine.sglang.launch.port"
        )
        raise ConfigError(msg) from error
    return claim


def _require_free(host: str, port: int) -> None:
    """Raises ConfigError: another program listens there, and would be taken for the server."""
    try:
        port_to_listen_at(host, port)
    except OSError as error:
        msg = (
            f"a server cannot listen on {host}:{port} ({error.strerror}): stop what has the port, "
            "or set engine.sglang.launch.port"
        )
        raise ConfigError(msg) from error


def _signal_group(pid: int, number: signal.Signals) -> None:
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError) as error:
        logger.debug("process %d is gone already: %s", pid, error)
