"""The loops in one process where the device's work is slept: what they cost by themselves.

Real are the endpoint, the judges, the turn log, the learner's loop with its checkpoints, and the
weight store; a reply and a training step take a given time and no processor.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, cast

from clawjax.config import RunConfig
from clawjax.engine.watcher import follow_weights
from clawjax.learner.batching import Batch
from clawjax.learner.step import StepResult, TrainState, TrainStep
from clawjax.log.store import SqlTurnLog
from clawjax.metrics.jsonl import JsonlMonitor
from clawjax.models.load import load_model
from clawjax.runtime.endpoint import build_app
from clawjax.runtime.in_process import judges_and_learner
from clawjax.runtime.loopback import serving
from clawjax.runtime.paths import RunPaths
from clawjax.testing import FakeEngine
from clawjax.weights import DirectoryWeightStore

__all__ = ["asleep"]

_REPLY = "yes you can do this"
_THREADS = 32


@asynccontextmanager
async def asleep(
    config: RunConfig, paths: RunPaths, log: SqlTurnLog, *, reply_s: float, step_s: float
) -> AsyncIterator[str]:
    """Run the loops; yields the endpoint's base URL. Replies do not wait for one another.

    Args:
        config: of a tiny model, which gives the tokenizer and the weights that are published.
        paths: the run's folder.
        log: its turn log.
        reply_s: from a request to the end of its reply.
        step_s: of a training step; checkpoint and publication come on top.
    """
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_THREADS))
    model = await asyncio.to_thread(load_model, config.model, seed=config.run.seed)
    store = DirectoryWeightStore(paths.weights)
    tokens = len(model.tokenizer.encode(_REPLY)) + 1  # the last one ends the reply
    engine = FakeEngine(
        model.tokenizer,
        [_REPLY],
        context_length=config.model.context_length,
        token_delay_s=reply_s / tokens,
    )
    async with AsyncExitStack() as stack:
        monitor = JsonlMonitor(paths.metrics)
        stack.callback(monitor.close)
        judges, learner = await judges_and_learner(
            stack, config, paths, model, log=log, store=store, monitor=monitor
        )
        learner.maker.updater.train_step = cast(
            "TrainStep", _SleepingStep(learner.versions.train_step, step_s)
        )
        app = build_app(config, engine, model.tokenizer, log, on_linked=judges.wake)
        stop = threading.Event()
        async with serving(app) as base_url, asyncio.TaskGroup() as group:
            following = follow_weights(engine, store, poll_s=config.engine.poll_weights_s)
            loops = [group.create_task(judges.run()), group.create_task(following)]
            group.create_task(asyncio.to_thread(learner.run, stop))
            try:
                yield base_url
            finally:
                stop.set()
                for loop in loops:
                    loop.cancel()


class _SleepingStep:
    """A training step that changes nothing and takes its time."""

    def __init__(self, step: TrainStep, seconds: float) -> None:
        self._step = step
        self._seconds = seconds

    def __getattr__(self, name: str) -> Any:
        return getattr(self._step, name)

    def run(self, state: TrainState, batches: Sequence[Batch]) -> StepResult:
        time.sleep(self._seconds)
        micros = [micro for batch in batches for micro in batch.micro_batches]
        metrics = {
            "train/tokens": float(sum(micro.response_mask.sum() for micro in micros)),
            "train/loss": 0.0,
            "train/seconds": self._seconds,
        }
        return StepResult(state._replace(step=state.step + 1), metrics)
