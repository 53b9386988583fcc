"""Watches a run: keeps its processes alive, shows it, records gauges, mirrors metrics to W&B.

Invariant: looking never disturbs; a health check that fails is shown and asked again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, NoReturn, Self

import httpx
from rich.console import Console

from clawjax.config import RunConfig
from clawjax.config.hosts import url_of
from clawjax.metrics.hacking import HackWatch
from clawjax.metrics.jsonl import JsonlMonitor
from clawjax.metrics.live import LatestMetrics, LiveView
from clawjax.metrics.mirroring import Mirroring
from clawjax.runtime.news import WeightNews
from clawjax.runtime.paths import RunPaths, note_json, read_json
from clawjax.runtime.supervisor import Supervisor
from clawjax.weights import DirectoryWeightStore

__all__ = ["Watch", "stranger"]

logger = logging.getLogger(__name__)

_TICK_S = 1.0
_HEALTH_TIMEOUT_S = 5.0
_START_TIMEOUT_S = 1800.0
"""Compiling a large model for the first time takes its time."""
_SWAP_TIMEOUT_S = 120.0


class Watch:
    """Looks at everything once a second; a context, for the sake of the terminal."""

    def __init__(
        self,
        config: RunConfig,
        paths: RunPaths,
        supervisor: Supervisor,
        mirroring: Mirroring,
    ) -> None:
        """Prepare; `run` does the looking."""
        self._url = f"{url_of(config.gateway.host, config.gateway.port)}/healthz"
        self._run = config.run.name
        self._paths = paths
        self._supervisor = supervisor
        self._mirroring = mirroring
        self._interval_s = config.monitor.interval_s
        self._monitor = JsonlMonitor(
            paths.metrics, source="supervisor", max_bytes=config.monitor.max_file_bytes
        )
        self._latest = LatestMetrics(paths.metrics)
        self._hacking = HackWatch(paths.metrics, config.reward.hack_watch)
        self._is_gamed = False
        self._news = WeightNews(DirectoryWeightStore(paths.weights))
        console = Console() if config.monitor.live else Console(force_terminal=False)
        self._view = LiveView(title=config.run.name, console=console)
        self._health: dict[str, Any] = {}
        self._trouble: str | None = None
        self._has_looked = asyncio.Event()
        self._began = time.monotonic()
        self._earlier = read_json(paths.clock)
        self._next_gauges = 0.0

    def __enter__(self) -> Self:
        """Take over the terminal's last lines."""
        self._view.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the terminal back, once the last news is told; remember time and memory."""
        self._keep_clock()
        self._tell(self._news.read())
        self._monitor.close()
        self._view.__exit__(kind, error, trace)

    def say(self, text: str) -> None:
        """Tell the person at the terminal."""
        self._view.say(text)

    async def serving(self, version: int | None = None) -> None:
        """Wait until the endpoint answers, or until it serves `version`.

        Raises:
            TimeoutError: it does not within half an hour, or two minutes for a version.
        """
        limit_s = _START_TIMEOUT_S if version is None else _SWAP_TIMEOUT_S
        async with asyncio.timeout(limit_s):
            while not self._health or version not in (None, self._health["version"]):
                self._has_looked.clear()
                await self._has_looked.wait()

    async def run(self) -> NoReturn:
        """Look until cancelled.

        Raises:
            ConfigError: a process found that the configuration cannot run.
            ClawError: a process died too often.
        """
        async with httpx.AsyncClient(timeout=_HEALTH_TIMEOUT_S, trust_env=False) as client:
            while True:
                self._supervisor.poll()
                while self._supervisor.notices:
                    self.say(self._supervisor.notices.pop(0))
                self._tell(await asyncio.to_thread(self._news.read))
                await self._look(client)
                if time.monotonic() >= self._next_gauges:
                    await self._record()
                await asyncio.sleep(_TICK_S)

    def _tell(self, lines: Sequence[str]) -> None:
        for line in lines:
            self.say(line)

    async def _look(self, client: httpx.AsyncClient) -> None:
        try:
            self._take(await client.get(self._url))
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            logger.debug("no health: %r", error)
        self._has_looked.set()
        self._view.update(self._health, self._latest.read())

    def _take(self, answer: httpx.Response) -> None:
        """Believe this run's health, and name who else answers."""
        health = _content(answer)
        who = stranger(health, self._run)
        if who is not None:
            if answer.is_server_error:  # a proxy's words, or those of who is about to end
                logger.debug("no health: %s answered %d", who, answer.status_code)
            else:
                self._tell_trouble(f"{who} answers {self._url}: stop it, or set gateway.port")
            return
        self._tell_trouble(health["engine"].get("trouble"))
        if answer.is_success:
            self._health = health

    def _tell_trouble(self, trouble: str | None) -> None:
        """Tell people what is wrong with serving when it begins, changes, or is over."""
        if trouble != self._trouble:
            self.say(f"Serving: {trouble or 'all is well again'}")
        self._trouble = trouble

    async def _record(self) -> None:
        self._next_gauges = time.monotonic() + self._interval_s
        self._monitor.log({"process/rss_bytes": float(self._supervisor.rss_bytes)})
        await asyncio.to_thread(self._look_for_hacking)
        self._keep_clock()
        self._mirroring.forward()

    def _look_for_hacking(self) -> None:
        """Record whether the reward seems to be gamed; tell people when that begins."""
        found = self._hacking.look()
        if found is None:
            return
        self._monitor.log(
            {
                "hacking/alarm": float(found.is_alarm),
                "hacking/reward_rise": found.rise,
                "hacking/evaluation_fall": found.fall,
            },
            step=found.version,
        )
        note_json(self._paths.hack_watch, found._asdict() | {"said": str(found)})
        if found.is_alarm and not self._is_gamed:
            self.say(f"The reward may be gamed: {found}")
        self._is_gamed = found.is_alarm

    def _keep_clock(self) -> None:
        seconds = self._earlier.get("seconds", 0.0) + time.monotonic() - self._began
        peak = max(self._earlier.get("peak_rss_bytes", 0), self._supervisor.peak_rss_bytes)
        note_json(self._paths.clock, {"seconds": seconds, "peak_rss_bytes": peak})


def stranger(health: Any, run: str) -> str | None:
    """Who answers for a run's health, where it is not that run: ports are used again.

    Args:
        health: the answer's content.
        run: `run.name`.
    """
    match health:
        case {"engine": {}, "version": int()}:
            name = health.get("run") or run
            return None if name == run else f"the run {str(name)[:80]!r}"
        case _:
            return "another program"


def _content(answer: httpx.Response) -> Any:
    """Its JSON; None where it has none."""
    try:
        return answer.json()
    except ValueError:
        return None
