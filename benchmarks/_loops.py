"""The loops of a run for measuring: serving and learning as in a run, the user in this process.

Invariant: what was started is stopped, however the measurement ends.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

from clawjax.config import LearnerConfig, RunConfig
from clawjax.envs.client import ChatClient
from clawjax.envs.persona import load_persona
from clawjax.envs.simulated_user import SimulatedUser
from clawjax.envs.user_settings import UserSettings
from clawjax.errors import ClawError
from clawjax.log.store import SqlTurnLog
from clawjax.runtime.build import open_log
from clawjax.runtime.child import encode_config
from clawjax.runtime.endpoint import bind
from clawjax.runtime.paths import RunPaths
from clawjax.runtime.supervisor import Supervisor

__all__ = ["Loops", "User", "served_version"]

_START_TIMEOUT_S = 900.0
_POLL_S = 0.1
_ANSWER_TIMEOUT_S = 30.0
_FOREVER = 1_000_000


@dataclass(slots=True)
class Loops:
    """A serving and a learning process on one folder; made by `running`."""

    config: RunConfig
    paths: RunPaths
    base_url: str
    log: SqlTurnLog
    _supervisor: Supervisor

    @classmethod
    @contextmanager
    def running(cls, config: RunConfig) -> Iterator[Loops]:
        """Start both processes as `experiments/run.py` does, and wait until they work.

        Raises:
            ClawError: a process ended.
            TimeoutError: a process is not ready within a quarter of an hour.
        """
        gateway = dataclasses.replace(config.gateway, port=bind(config.gateway))
        config = dataclasses.replace(config, gateway=gateway)
        paths = RunPaths(Path(config.run.dir))
        paths.prepare()
        supervisor = Supervisor(paths, max_restarts=0)
        log = open_log(config.log)
        base_url = f"http://{gateway.host}:{gateway.port}/v1"
        loops = cls(config, paths, base_url, log, supervisor)
        try:
            supervisor.start("serve", "clawjax.runtime.serve", stdin=encode_config(config))
            loops.start_learner(config.learner)
            loops.until(lambda: served_version(base_url) is not None, _START_TIMEOUT_S)
            yield loops
        finally:
            supervisor.stop_all()
            log.close()

    def start_learner(self, learner: LearnerConfig) -> None:
        """Start the learning process and wait until it looks for turns."""
        self.paths.learner_status.unlink(missing_ok=True)
        wire = encode_config(dataclasses.replace(self.config, learner=learner))
        self._supervisor.start("learn", "clawjax.runtime.learn", stdin=wire)
        self.until(self.paths.learner_status.exists, _START_TIMEOUT_S)

    def stop_learner(self) -> None:
        """End the learning process once the step under way is done."""
        self._supervisor.stop("learn")

    def pid(self, name: str) -> int:
        """The process id of `serve` or `learn`."""
        return self._supervisor.pid(name)

    def until(self, holds: Callable[[], bool], timeout_s: float) -> None:
        """Wait.

        Raises:
            ClawError: a process ended.
            TimeoutError: it does not come true.
        """
        deadline = time.monotonic() + timeout_s
        while not holds():
            self._supervisor.poll()
            if time.monotonic() > deadline:
                msg = f"nothing happened for {timeout_s:g} s: see {self.paths.process_log('learn')}"
                raise TimeoutError(msg)
            time.sleep(_POLL_S)


def served_version(base_url: str) -> int | None:
    """The policy version in use; None where the endpoint does not answer."""
    try:
        with urlopen(  # noqa: S310 - our own endpoint
            base_url.removesuffix("/v1") + "/healthz", timeout=_ANSWER_TIMEOUT_S
        ) as answer:
            return json.load(answer)["version"]
    except OSError:
        return None


class User:
    """The configured simulated user on an open line; made by `connected`."""

    def __init__(self, settings: UserSettings, client: ChatClient) -> None:
        """Use `connected`."""
        self._settings = settings
        self._client = client

    @classmethod
    @asynccontextmanager
    async def connected(
        cls, config: RunConfig, base_url: str, folder: Path, *, leave_rate: float
    ) -> AsyncIterator[User]:
        """Somebody who remembers in `folder` what was said, and leaves so often without a word."""
        user = config.user
        settings = UserSettings(
            base_url=base_url,
            run_dir=str(folder),
            persona=user.persona,
            model=config.model.name,
            seed=config.run.seed,
            updates=_FOREVER,
            max_turns=1,
            max_seconds=_FOREVER,
            concurrency=user.concurrency,
            think_s=user.think_s,
            leave_rate=leave_rate,
            temperature=user.temperature,
            max_tokens=user.max_tokens,
        )
        async with ChatClient.connect(settings) as client:
            yield cls(settings, client)

    async def talk(self, turns: int) -> None:
        """Talk until so many turns were said in all.

        Raises:
            ClawError: a request was refused, or found no server.
        """
        settings = dataclasses.replace(self._settings, max_turns=turns)
        persona = load_persona(settings.persona)
        state = await SimulatedUser(settings, persona, self._client).run()
        if state.status_errors or state.connection_errors:
            msg = f"requests failed: {state.status_errors}, {state.connection_errors} connections"
            raise ClawError(msg)
