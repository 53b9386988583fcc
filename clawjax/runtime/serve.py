"""The serving process: engine, gateway, judges, and the weights that arrive.

`python -m clawjax.runtime.serve`, configuration on standard input. Invariants: when it is told to
stop it takes no new requests, finishes those it has, and then leaves; a loop beside serving that
fails is started again by itself, and is no reason to stop serving.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from typing import Any, NoReturn

import uvicorn

from clawjax.config import RunConfig
from clawjax.engine.watcher import follow_weights
from clawjax.errors import EngineError, LogError
from clawjax.gateway.listening import http_server, listen
from clawjax.log.forgetting import forget, lose_ids
from clawjax.log.store import SqlTurnLog
from clawjax.metrics.jsonl import JsonlMonitor
from clawjax.metrics.live import LatestMetrics
from clawjax.protocols import Engine
from clawjax.records import Counts
from clawjax.rewards.worker import JudgeStatus, JudgeWorker
from clawjax.runtime.build import open_log
from clawjax.runtime.child import parent_is_alive, run_child
from clawjax.runtime.endpoint import build_app
from clawjax.runtime.engines import open_engine
from clawjax.runtime.judges import open_rewards
from clawjax.runtime.keeping import LoopKeeper
from clawjax.runtime.paths import RunPaths, read_json
from clawjax.tasks import task_group
from clawjax.weights import DirectoryWeightStore

__all__ = ["serve"]

logger = logging.getLogger(__name__)

_TICK_S = 1.0
_REFRESH_SHARE = 20
"""A count of t seconds is followed by the next after at least so many times t."""
_DAY_S = 86_400.0
_RETENTION_TICK_S = 3600.0
_HELD_DAYS = 30.0
"""Longer than any process holds a turn in memory: then the ids of forgotten ones go, too."""
_THREADS = 32
_HEADER_ROOM = 65_536
"""What the server reads of headers beyond the limit, so that who is over it can be told so."""
_GRACE_S = 30
"""How long replies may go on once the process was told to stop."""
_LEARNER_SILENT_S = 10.0
"""A learner that has not been heard of for so long is in a step, or gone."""


class Status:
    """What `/healthz` says of the loops, read once a second off the request path."""

    def __init__(
        self, engine: Engine, judges: JudgeWorker, keeper: LoopKeeper, paths: RunPaths
    ) -> None:
        """Nothing is known of the log before the first `refresh`."""
        self._engine = engine
        self._judges = judges
        self._keeper = keeper
        self._paths = paths
        self._began = time.time()
        self._counts: Counts | None = None
        self._claimed = 0
        self._metrics = LatestMetrics(paths.metrics)
        self._latest: Mapping[str, float] = {}

    def refresh(self, log: SqlTurnLog) -> Counts:
        """Read the log's balance and what was measured; call from a worker thread."""
        self._latest = dict(self._metrics.read())
        self._counts = log.counts()
        self._claimed = log.claimed()
        return self._counts

    def counts(self) -> dict[str, Any]:
        """The latest known balance; empty before the first look."""
        return {} if self._counts is None else self._counts._asdict()

    def latest(self) -> Mapping[str, float]:
        """What the run's processes measured last."""
        return self._latest

    def loops(self) -> dict[str, Any]:
        """What each loop is doing, and why one of them does nothing."""
        engine, judges = self._engine.status(), self._judges.status()
        loops: dict[str, dict[str, Any]] = {
            "serve": {"state": "running" if engine.running else "idle"},
            "collect": {"state": "ok"},
            "judge": _judging(judges),
            "learn": self._learner(),
        }
        for name, trouble in self._keeper.troubles.items():
            loops[name] = loops.get(name, {}) | trouble
        return loops

    def _learner(self) -> dict[str, Any]:
        found: dict[str, Any] = {"claimed": self._claimed}
        told = read_json(self._paths.processes).get("learn", {})
        if told.get("state") in ("restarting", "stopped"):
            return found | told
        pulse = read_json(self._paths.learner_status)
        silent_s = abs(time.time() - pulse.get("at", 0.0))
        # Of a learner before this process the supervisor tells; another may be starting.
        if "stopped" in pulse and pulse.get("at", 0.0) >= self._began:
            return found | {"state": "stopped", "reason": pulse["stopped"]}
        if self._claimed:
            return found | {"state": "training"}
        return found | {"state": "waiting" if silent_s < _LEARNER_SILENT_S else "starting"}


def _judging(judges: JudgeStatus) -> dict[str, Any]:
    if judges.held:
        reason = f"a judge cannot be asked: {judges.held} turns wait for it, see the process's log"
        return {"state": "waiting", "reason": reason, **asdict(judges)}
    return {"state": "running" if judges.in_flight else "idle", **asdict(judges)}


def serve(config: RunConfig, paths: RunPaths) -> None:
    """Serve until told to stop."""
    asyncio.run(_serve(config, paths))


async def _serve(config: RunConfig, paths: RunPaths) -> None:
    # Requests, judges and the weights' reader share these threads; none may wait for the others.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_THREADS))
    log = open_log(config.log)
    monitor = JsonlMonitor(paths.metrics, source="serve", max_bytes=config.monitor.max_file_bytes)
    store = DirectoryWeightStore(paths.weights)
    engine, tokenizer = await open_engine(config, paths, store)
    rewards = await open_rewards(config.reward, log)
    judges = JudgeWorker(log, rewards, config.reward, monitor=monitor)
    keeper = LoopKeeper(
        max_restarts=config.run.max_restarts, max_wait_s=config.run.max_restart_wait_s
    )
    status = Status(engine, judges, keeper, paths)
    app = build_app(
        config,
        engine,
        tokenizer,
        log,
        on_linked=judges.wake,
        loop_status=status.loops,
        turn_counts=status.counts,
        latest_metrics=status.latest,
    )
    server = http_server(
        app,
        config.gateway.host,
        config.gateway.port,
        grace_s=_GRACE_S,
        max_header_bytes=config.gateway.limits.max_header_bytes + _HEADER_ROOM,
    )
    poll_s = config.engine.poll_weights_s
    try:
        async with task_group() as group:
            background = [
                group.create_task(keeper.keep("judge", judges.run)),
                group.create_task(
                    keeper.keep("weights", partial(follow_weights, engine, store, poll_s=poll_s))
                ),
                group.create_task(
                    keeper.keep("retain", partial(_retain, log, config.log.retention_days))
                ),
                group.create_task(_gauges(config, log, engine, status, monitor, server)),
            ]
            await listen(server)
            for task in background:
                task.cancel()
    finally:
        for reward in rewards:
            await reward.aclose()
        await engine.aclose()
        monitor.close()
        log.close()


async def _retain(log: SqlTurnLog, days: float | None) -> None:
    """Forget turns that are older than so many days, for ever; None keeps them.

    Raises:
        LogError: old turns are kept for now.
    """
    while days is not None:
        now = time.time()
        gone = await asyncio.to_thread(forget, log, now=now, before=now - days * _DAY_S)
        if gone.turn_ids:
            logger.info("%d turns are older than %g days: forgotten", len(gone.turn_ids), days)
        await asyncio.to_thread(lose_ids, log, before=now - _HELD_DAYS * _DAY_S)
        await asyncio.sleep(min(_RETENTION_TICK_S, days * _DAY_S))


async def _gauges(
    config: RunConfig,
    log: SqlTurnLog,
    engine: Engine,
    status: Status,
    monitor: JsonlMonitor,
    server: uvicorn.Server,
) -> NoReturn:
    """Refresh the status, record gauges, and leave when the supervisor is gone.

    Raises:
        EngineError: the engine has stopped; only a new process helps.
    """
    next_record = next_refresh = 0.0
    counts: tuple[Counts, dict[str, int]] | None = None
    while True:
        began = time.monotonic()
        if began >= next_refresh:
            # Counting takes longer as the log grows: it may take a small share of the time only.
            counts = await asyncio.to_thread(_look, status, log) or counts
            next_refresh = began + _REFRESH_SHARE * (time.monotonic() - began)
        health = engine.status()
        if not health.is_healthy and not health.may_recover:
            msg = "the engine has stopped: the process has to be started again"
            raise EngineError(msg)
        if counts is not None and time.monotonic() >= next_record:
            next_record = time.monotonic() + config.monitor.interval_s
            monitor.log(_gauge_metrics(engine, *counts))
        if not parent_is_alive():
            logger.warning("the supervisor is gone: stopping")
            server.should_exit = True
        await asyncio.sleep(_TICK_S)


def _look(status: Status, log: SqlTurnLog) -> tuple[Counts, dict[str, int]] | None:
    """The log's balance and counters; None where it cannot be read just now."""
    try:
        return status.refresh(log), log.counters()
    except LogError as error:
        logger.error("the counts are out of date: %s", error)
        return None


def _gauge_metrics(engine: Engine, counts: Counts, counters: dict[str, int]) -> dict[str, float]:
    serving = engine.status()
    hit_rate = serving.prefix_hit_rate
    return {
        "engine/version": float(serving.version),
        "engine/running": float(serving.running),
        "engine/waiting": float(serving.waiting),
        "engine/tokens_per_s": serving.tokens_per_s,
        "engine/generated_tokens": float(serving.generated_tokens),
        "engine/prompt_tokens": float(serving.prompt_tokens),
        "engine/cached_tokens": float(serving.cached_tokens),
        **({} if hit_rate is None else {"engine/prefix_hit_rate": hit_rate}),
        "log/logged": float(counts.logged),
        "log/trained": float(counts.trained),
        "log/pending": float(counts.pending),
        "log/dropped": float(sum(counts.dropped.values())),
        "log/linked": float(counts.linked),
        **{f"log/dropped/{reason}": float(n) for reason, n in counts.dropped.items()},
        "gateway/requests": float(counters.get("requests", 0)),
        "gateway/other_requests": float(counters.get("other_requests", 0)),
        "gateway/non_2xx": float(counters.get("non_2xx", 0)),
        "gateway/unknown_shapes": float(counters.get("unknown_shapes", 0)),
    }


if __name__ == "__main__":
    run_child(serve)
