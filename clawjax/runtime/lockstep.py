"""The loops in one process, one after the other: talk, judge, train, adopt.

The same endpoint, judges, log, learner and weight store as in a run, without their races: every
reply of a round is by one policy version, and the same seed asks the same questions. For
evaluation, where rounds have to be comparable; people are served by `clawjax.runtime.run`.
"""

from __future__ import annotations

import asyncio
import dataclasses
import math
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from clawjax.config import RunConfig
from clawjax.config.checks import require
from clawjax.engine.embedded import EmbeddedEngine
from clawjax.envs.client import ChatClient
from clawjax.envs.persona import Persona
from clawjax.envs.simulated_user import SimulatedUser
from clawjax.envs.user_settings import UserSettings
from clawjax.errors import RewardError
from clawjax.learner.loop import Learner
from clawjax.log.store import SqlTurnLog
from clawjax.metrics.jsonl import JsonlMonitor
from clawjax.models.load import LoadedModel
from clawjax.protocols import Engine
from clawjax.rewards.worker import CURSOR, JudgeWorker
from clawjax.runtime.endpoint import build_app
from clawjax.runtime.in_process import judges_and_learner
from clawjax.runtime.loopback import serving
from clawjax.runtime.owning import open_own_log
from clawjax.runtime.paths import RunPaths
from clawjax.tasks import task_group
from clawjax.weights import DirectoryWeightStore

__all__ = ["Lockstep", "without_waits"]

_JUDGE_TIMEOUT_S = 600.0
_FOREVER = 1_000_000
_POLL_S = 0.02


@dataclass(slots=True)
class Lockstep:
    """One policy with its endpoint and its learner; made by `open`."""

    config: RunConfig
    paths: RunPaths
    base_url: str
    """Of the endpoint, e.g. `http://127.0.0.1:41234/v1`."""
    log: SqlTurnLog
    _engine: Engine
    _judges: JudgeWorker
    _learner: Learner
    _store: DirectoryWeightStore

    @classmethod
    @asynccontextmanager
    async def open(
        cls, config: RunConfig, paths: RunPaths, model: LoadedModel, engine: Engine | None = None
    ) -> AsyncIterator[Lockstep]:
        """Put everything together; a folder that holds an earlier run is gone on with.

        Args:
            config: of the run.
            paths: its folder.
            model: what learns.
            engine: who samples, with the weights of that folder; the caller closes it. None: the
                embedded engine.

        Raises:
            ConfigError: an engine that is not in this process, and is not given; or another run
                owns the log.
            EngineError, LearnerError, LogError: a part cannot be started.
        """
        require(
            engine is not None or config.engine.kind == "embedded",
            f"engine.kind={config.engine.kind} cannot be measured in lockstep, which talks, judges "
            "and trains in one process: use engine=embedded",
        )
        config = without_waits(config)
        store = DirectoryWeightStore(paths.weights)
        async with AsyncExitStack() as stack:
            log = open_own_log(config, paths)
            stack.callback(log.close)
            monitor = JsonlMonitor(paths.metrics, source="evaluation")
            stack.callback(monitor.close)
            judges, learner = await judges_and_learner(
                stack, config, paths, model, log=log, store=store, monitor=monitor
            )
            if engine is None:
                engine = await EmbeddedEngine.start(model, config.engine, store)
                stack.push_async_callback(engine.aclose)
            app = build_app(config, engine, model.tokenizer, log, on_linked=judges.wake)
            async with serving(app) as base_url, task_group() as group:
                judging = group.create_task(judges.run())
                yield cls(config, paths, base_url, log, engine, judges, learner, store)
                judging.cancel()

    @property
    def version(self) -> int:
        """The policy version in use."""
        return self._engine.status().version

    async def catch_up(self) -> None:
        """Serve the newest version, however stale the talk was meant to be.

        Raises:
            StoreError: it is damaged.
        """
        await self._serve(staleness=0)

    async def round(self, persona: Persona, turns: int) -> bool:
        """Talk up to `turns` in all rounds together, judge, train once; whether it trained.

        Raises:
            EngineError: the endpoint refuses the user.
            LearnerError: the step is not to be trusted.
            RewardError: the judges do not come to an end.
        """
        await self._talk(persona, turns)
        await self._judged()
        is_trained = await asyncio.to_thread(self._learner.sweep)
        await self._serve(staleness=self.config.suite.staleness)
        return is_trained

    async def _serve(self, *, staleness: int) -> None:
        """Adopt the version that the store serves, or one so many updates before it."""
        latest = self._store.latest()
        if latest is None:
            return
        wanted = latest.version
        for _ in range(staleness):
            wanted = self._learner.versions.lineage.parent(wanted) if wanted > 0 else 0
        if wanted != self.version:
            weights, _ = self._store.load(wanted)
            await self._engine.swap(weights)

    async def _talk(self, persona: Persona, turns: int) -> None:
        user = self.config.user
        settings = UserSettings(
            base_url=self.base_url,
            run_dir=str(self.paths.root),
            persona=user.persona,
            model=self.config.model.name,
            seed=self.config.run.seed,
            updates=_FOREVER,
            max_turns=turns,
            max_seconds=_FOREVER,
            concurrency=user.concurrency,
            think_s=0.0,
            temperature=user.temperature,
            max_tokens=user.max_tokens,
        )
        async with ChatClient.connect(settings) as client:
            await SimulatedUser(settings, persona, client).run()

    async def _judged(self) -> None:
        """Wait until everything that was said has been judged."""
        deadline = time.monotonic() + _JUDGE_TIMEOUT_S
        while await asyncio.to_thread(self._has_unjudged):
            if time.monotonic() > deadline:
                msg = f"the judges are not done after {_JUDGE_TIMEOUT_S:.0f} s"
                raise RewardError(msg)
            self._judges.wake()
            await asyncio.sleep(_POLL_S)

    def _has_unjudged(self) -> bool:
        return bool(self.log.linked(after=self.log.cursor(CURSOR), limit=1))


def without_waits(config: RunConfig) -> RunConfig:
    """A step is due as soon as there is anything to learn from, and takes all there is.

    A turn is as old as the policy was meant to be, and by the rounds until its reaction: where a
    round has fewer turns than there are conversations, each is gone on with in some of them only.
    """
    suite = config.suite
    until_reaction = 1 + math.ceil(config.user.concurrency / suite.turns_per_update)
    learner = dataclasses.replace(
        config.learner,
        batch_turns=max(config.learner.batch_turns, suite.turns_per_update),
        min_turns=1,
        max_wait_s=0.0,
        max_staleness=max(config.learner.max_staleness, suite.staleness + until_reaction),
    )
    return dataclasses.replace(config, learner=learner)
