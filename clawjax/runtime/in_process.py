"""Judges and learner in the calling process, where loops share one: evaluations, experiments."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from clawjax.config import RunConfig
from clawjax.evals.material import fixed_text
from clawjax.learner.build import build_learner
from clawjax.learner.loop import Learner
from clawjax.log.store import SqlTurnLog
from clawjax.metrics.jsonl import JsonlMonitor
from clawjax.models.load import LoadedModel
from clawjax.rewards.worker import JudgeWorker
from clawjax.runtime.judges import open_rewards
from clawjax.runtime.paths import RunPaths
from clawjax.weights import DirectoryWeightStore

__all__ = ["judges_and_learner"]


async def judges_and_learner(
    stack: AsyncExitStack,
    config: RunConfig,
    paths: RunPaths,
    model: LoadedModel,
    *,
    log: SqlTurnLog,
    store: DirectoryWeightStore,
    monitor: JsonlMonitor,
) -> tuple[JudgeWorker, Learner]:
    """Put both together on one turn log; the learner resumes. `stack` closes what they opened.

    Raises:
        ConfigError, LearnerError, StoreError: as `open_rewards` and `build_learner`.
    """
    rewards = await open_rewards(config.reward, log)
    for reward in rewards:
        stack.push_async_callback(reward.aclose)
    judges = JudgeWorker(log, rewards, config.reward, monitor=monitor)
    learner = await asyncio.to_thread(
        build_learner,
        model=model,
        objective=config.objective,
        learner=config.learner,
        reward=config.reward,
        log=log,
        store=store,
        monitor=monitor,
        run_dir=paths.root,
        seed=config.run.seed,
        fixed_text=fixed_text(),
        engine=config.engine,
        gateway=config.gateway,
    )
    stack.callback(learner.versions.checkpoints.close)
    return judges, learner
