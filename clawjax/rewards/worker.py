"""Loop 3: reads linked turns by cursor, has the reward modules judge them, writes verdicts.

Invariant: the cursor moves only past events whose verdicts are all committed, in order. A crash
in between means judging again, which changes nothing: verdicts are keyed by turn and module.
A module that fails is an abstention on record; it never stops the loop.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NoReturn, Protocol

from clawjax.config import RewardConfig
from clawjax.errors import RewardError
from clawjax.protocols import Monitor, Reward
from clawjax.records import LinkedTurn, Verdict

__all__ = ["JudgeLog", "JudgeStatus", "JudgeWorker"]

logger = logging.getLogger(__name__)

CURSOR = "judge"
"""The cursor's name in the log."""
_WINDOW_PER_JUDGE = 8
"""Events read ahead per concurrent judgement; later ones wait in the log."""


class JudgeLog(Protocol):
    """The slice of the turn log that judging needs. Thread-safe, synchronous."""

    def linked(self, *, after: int, limit: int) -> Sequence[LinkedTurn]:
        """Main turns with something after them, in order, beyond `after`."""
        ...

    def append(self, *records: Verdict) -> None:
        """Commit before returning; a known key changes nothing."""
        ...

    def cursor(self, name: str) -> int:
        """Where `name` stands; 0 at first."""
        ...

    def move_cursor(self, name: str, seq: int) -> None:
        """Commit a cursor's new place."""
        ...


@dataclass(frozen=True, slots=True)
class JudgeStatus:
    """A snapshot for health checks and the live view; counts are since start-up."""

    scored: int
    abstained: int
    failed: int
    """Abstentions because a module failed or took too long."""
    waiting: int
    """Events read and not yet begun."""
    in_flight: int
    cursor: int


@dataclass(slots=True)
class _Event:
    """One linked turn on its way through the window."""

    linked: LinkedTurn
    is_done: bool = False


class JudgeWorker:
    """Judges every linked turn with every module that applies."""

    def __init__(
        self,
        log: JudgeLog,
        rewards: Sequence[Reward],
        config: RewardConfig,
        *,
        monitor: Monitor | None = None,
        poll_s: float = 1.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Judge what `log` holds; `poll_s` is how long it goes unread without `wake`."""
        self._log = log
        self._rewards = tuple(rewards)
        self._config = config
        self._monitor = monitor
        self._poll_s = poll_s
        self._clock = clock
        self._bound = asyncio.Semaphore(config.max_concurrency)
        self._window: deque[_Event] = deque()
        self._wake = asyncio.Event()
        self._cursor = 0
        self._scored = self._abstained = self._failed = self._in_flight = 0

    def wake(self) -> None:
        """Look into the log now. Call on the event loop that runs the worker."""
        self._wake.set()

    def status(self) -> JudgeStatus:
        """Report what is going on."""
        unfinished = sum(not event.is_done for event in self._window)
        return JudgeStatus(
            scored=self._scored,
            abstained=self._abstained,
            failed=self._failed,
            waiting=unfinished - self._in_flight,
            in_flight=self._in_flight,
            cursor=self._cursor,
        )

    async def run(self) -> NoReturn:
        """Judge until cancelled; unfinished events are judged again after a restart.

        Raises:
            LogError: the log cannot be read or written.
        """
        self._window.clear()
        self._in_flight = 0
        self._cursor = await asyncio.to_thread(self._log.cursor, CURSOR)
        try:
            async with asyncio.TaskGroup() as group:
                await self._feed(group)
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from failures
        raise AssertionError("unreachable: feeding ends only by an exception")

    async def _feed(self, group: asyncio.TaskGroup) -> NoReturn:
        """Keep the window full."""
        read_up_to = self._cursor
        limit = _WINDOW_PER_JUDGE * self._config.max_concurrency
        while True:
            self._wake.clear()
            room = limit - len(self._window)
            events = await self._read(read_up_to, room) if room else ()
            for linked in events:
                event = _Event(linked)
                self._window.append(event)
                group.create_task(self._settle(event))
                read_up_to = linked.seq
            if len(events) < room or not room:
                await self._rest()

    async def _read(self, after: int, limit: int) -> Sequence[LinkedTurn]:
        return await asyncio.to_thread(self._log.linked, after=after, limit=limit)

    async def _rest(self) -> None:
        """Until woken, or for one polling interval."""
        try:
            async with asyncio.timeout(self._poll_s):
                await self._wake.wait()
        except TimeoutError:
            pass  # nobody called: look again

    async def _settle(self, event: _Event) -> None:
        """Judge one event, commit its verdicts, then move the cursor as far as it can go."""
        async with self._bound:
            self._in_flight += 1
            try:
                verdicts = await self._judge(event.linked)
                await asyncio.to_thread(self._log.append, *verdicts)
            finally:
                self._in_flight -= 1
        event.is_done = True
        self._report(event.linked, verdicts)
        await self._advance()

    async def _advance(self) -> None:
        """Drop finished events from the window's front and commit the place of the last."""
        seq = self._cursor
        was_full = bool(self._window)
        while self._window and self._window[0].is_done:
            seq = self._window.popleft().linked.seq
        if seq > self._cursor:
            self._cursor = seq
            await asyncio.to_thread(self._log.move_cursor, CURSOR, seq)
        if was_full and not self._window:
            self._wake.set()

    async def _judge(self, linked: LinkedTurn) -> tuple[Verdict, ...]:
        """One verdict per module that applies, or one that says that none does."""
        tasks: list[asyncio.Task[Verdict]] = []
        async with asyncio.TaskGroup() as group:
            for reward in self._rewards:
                tasks.append(group.create_task(self._ask(reward, linked)))
        verdicts = tuple(v for v in (task.result() for task in tasks) if v is not None)
        if verdicts:
            return verdicts
        return (self._abstention(linked, "none", "no module applies"),)
