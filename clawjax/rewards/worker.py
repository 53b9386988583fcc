"""Loop 3: reads linked turns by cursor, has the reward modules judge them, writes verdicts.

Invariant: the cursor moves only past events whose verdicts are all committed, in order. A crash
in between means judging again, which changes nothing: verdicts are keyed by turn and module. Where
more comes after a turn, a module that abstained before has its say then.
What people are to see is asked in the transaction that commits the verdicts, never after it.
A module that fails, or says what cannot be written down, is an abstention on record; it never stops
the loop. One whose judge is away is asked again later, with the cursor held, until
`judge_patience_h` are over.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NoReturn, Protocol

from clawjax.config import RewardConfig
from clawjax.errors import JudgeAwayError, RewardError
from clawjax.log.holding import ReviewRequest
from clawjax.log.known import JUDGES
from clawjax.protocols import Monitor, Reward
from clawjax.records import JudgedTurn, LinkedTurn, Verdict
from clawjax.rewards.checked import checked
from clawjax.rewards.composite import time_limit_s
from clawjax.rewards.human import HumanReward
from clawjax.rewards.waiting import FIRST_WAIT_S, Waiting
from clawjax.tasks import task_group
from clawjax.verdicts import first_said

__all__ = ["CURSOR", "JudgeLog", "JudgeStatus", "JudgeWorker"]

logger = logging.getLogger(__name__)

CURSOR = JUDGES
"""The cursor's name in the log."""
_HOUR_S = 3600.0
_WINDOW_PER_JUDGE = 8
"""Events read ahead per concurrent judgement; later ones wait in the log."""


class JudgeLog(Protocol):
    """The slice of the turn log that judging needs. Thread-safe, synchronous."""

    def linked(self, *, after: int, limit: int) -> Sequence[LinkedTurn]:
        """Main turns with something after them, in order, beyond `after`."""
        ...

    def append(self, *records: Verdict | ReviewRequest) -> None:
        """Commit together, before returning; what a key has said is left as it is."""
        ...

    def get(self, turn_id: str) -> JudgedTurn | None:
        """One turn with all that is known about it."""
        ...

    def cursor(self, name: str) -> int:
        """Where `name` stands; 0 at first."""
        ...

    def move_cursor(self, name: str, position: int) -> None:
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
    held: int = 0
    """Events that wait for a judge that is away."""


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
        first_wait_s: float = FIRST_WAIT_S,
    ) -> None:
        """Judge what `log` holds.

        Args:
            log: read and written.
            rewards: asked about each turn.
            config: bounds.
            monitor: is told of each.
            poll_s: how long the log goes unread without `wake`.
            clock: Unix seconds.
            first_wait_s: until a judge that is away is asked again the first time.
        """
        self._log = log
        self._rewards = tuple(rewards)
        self._people = next((each for each in rewards if isinstance(each, HumanReward)), None)
        self._config = config
        self._monitor = monitor
        self._poll_s = poll_s
        self._clock = clock
        self._first_wait_s = first_wait_s
        self._held = 0
        self._limit = _WINDOW_PER_JUDGE * config.max_concurrency
        self._bound = asyncio.Semaphore(config.max_concurrency)
        # Held while the cursor is committed, so that commits happen in order.
        self._cursor_lock = asyncio.Lock()
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
            waiting=unfinished - self._in_flight - self._held,
            in_flight=self._in_flight,
            cursor=self._cursor,
            held=self._held,
        )

    async def run(self) -> NoReturn:
        """Judge until cancelled; unfinished events are judged again after a restart.

        Raises:
            LogError: the log cannot be read or written.
        """
        self._window.clear()
        self._in_flight = self._held = 0
        self._cursor = await asyncio.to_thread(self._log.cursor, CURSOR)
        await asyncio.to_thread(self._log.move_cursor, CURSOR, self._cursor)  # somebody judges
        async with task_group() as group:
            await self._feed(group)
        raise AssertionError("unreachable: feeding ends only by an exception")

    async def _feed(self, group: asyncio.TaskGroup) -> NoReturn:
        """Keep the window full."""
        read_up_to = self._cursor
        while True:
            self._wake.clear()
            room = self._limit - len(self._window)
            events = await self._read(read_up_to, room) if room else ()
            for linked in events:
                event = _Event(linked)
                self._window.append(event)
                group.create_task(self._settle(event))
                read_up_to = linked.seq
            if len(events) < room or not room:  # read to the end, or the window is full
                await self._rest()

    async def _read(self, after: int, limit: int) -> Sequence[LinkedTurn]:
        return await asyncio.to_thread(self._log.linked, after=after, limit=limit)

    async def _rest(self) -> None:
        """Until woken, or for one polling interval."""
        with contextlib.suppress(TimeoutError):  # nobody called: look again
            async with asyncio.timeout(self._poll_s):
                await self._wake.wait()

    async def _settle(self, event: _Event) -> None:
        """Judge one event, commit its verdicts, then move the cursor as far as it can go."""
        patience_s = self._config.judge_patience_h * _HOUR_S
        waiting = Waiting(patience_s, first_s=self._first_wait_s)
        said: dict[str, Verdict | None] = {}
        while (verdicts := await self._try(event.linked, said, waiting)) is None:
            pass
        event.is_done = True
        self._report(event.linked, verdicts)
        await self._advance()

    async def _try(
        self, linked: LinkedTurn, said: dict[str, Verdict | None], waiting: Waiting
    ) -> tuple[Verdict, ...] | None:
        """Ask who has not said anything yet; None, after a pause, where somebody is away.

        Nobody is asked again about what was forgotten in the pause.
        """
        async with self._bound:
            self._in_flight += 1
            try:
                is_gone = waiting.has_begun and await asyncio.to_thread(self._is_gone, linked)
                away = [] if is_gone else await self._ask_all(linked, said)
                answered = sum(getattr(reward, "answered", 0) for reward, _ in away)
                wait_s = waiting.next_s(answered) if away else None
                if wait_s is None:
                    for reward, reason in away:
                        said[reward.name] = self._failure(linked, reward, reason)
                    verdicts = self._verdicts(linked, said)
                    return await asyncio.to_thread(self._commit, linked, verdicts)
            finally:
                self._in_flight -= 1
        self._held += 1
        try:
            await asyncio.sleep(wait_s)
        finally:
            self._held -= 1
        return None

    def _is_gone(self, linked: LinkedTurn) -> bool:
        """Whether the turn, or what came after it, is forgotten."""
        known = self._log.get(linked.turn.turn_id)
        return known is None or linked.next_state not in known.next_states

    def _commit(self, linked: LinkedTurn, verdicts: tuple[Verdict, ...]) -> tuple[Verdict, ...]:
        """Verdicts, and whether people are to see the turn by all that is known of it now.

        What came after the turn may have been forgotten meanwhile: abstentions then.
        """
        turn_id = linked.turn.turn_id
        known = self._log.get(turn_id)
        if known is not None and linked.next_state not in known.next_states:
            reason = "what came after the turn is forgotten"
            verdicts = tuple(self._abstention(linked, each.module, reason) for each in verdicts)
        asked = None
        if self._people is not None:
            earlier = () if known is None else known.verdicts
            asked = self._people.request(turn_id, first_said((*earlier, *verdicts)))
        self._log.append(*verdicts, *(() if asked is None else (asked,)))
        return verdicts

    async def _advance(self) -> None:
        """Drop finished events from the window's front and commit the place of the last."""
        async with self._cursor_lock:
            was_full = len(self._window) >= self._limit
            seq = self._cursor
            while self._window and self._window[0].is_done:
                seq = self._window.popleft().linked.seq
            if seq > self._cursor:
                await asyncio.to_thread(self._log.move_cursor, CURSOR, seq)
                self._cursor = seq
        if was_full and len(self._window) < self._limit:
            self.wake()

    async def _ask_all(
        self, linked: LinkedTurn, said: dict[str, Verdict | None]
    ) -> list[tuple[Reward, str]]:
        """Note what the modules say that have not said anything; those that are away, and why."""
        rewards = [reward for reward in self._rewards if reward.name not in said]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._ask(reward, linked)) for reward in rewards]
        away: list[tuple[Reward, str]] = []
        for reward, task in zip(rewards, tasks, strict=True):
            match task.result():
                case str() as reason:
                    away.append((reward, reason))
                case verdict:
                    said[reward.name] = verdict
        return away

    def _verdicts(self, linked: LinkedTurn, said: dict[str, Verdict | None]) -> tuple[Verdict, ...]:
        """One verdict per module that applies, in their order, or one that says that none does."""
        found = (said.get(reward.name) for reward in self._rewards)
        verdicts = tuple(verdict for verdict in found if verdict is not None)
        return verdicts or (self._abstention(linked, "none", "no module applies"),)

    async def _ask(self, reward: Reward, linked: LinkedTurn) -> Verdict | str | None:
        """This module's verdict; None where it does not apply, an abstention where it fails.

        A text says why its judge is away.
        """
        limit_s = time_limit_s(reward, self._config.judge_timeout_s)
        try:
            if not reward.applies(linked.turn, linked.next_state):
                return None
            async with asyncio.timeout(limit_s):
                verdict = await reward.judge(linked.turn, linked.next_state)
            return checked(verdict, reward.name, linked.turn.turn_id)
        except TimeoutError:
            reason = f"no verdict within {limit_s:g} s"
            logger.warning("%s on turn %s: %s", reward.name, linked.turn.turn_id, reason)
            if getattr(reward, "is_away", False):
                return reason
        except RewardError as error:
            reason = str(error)
            logger.warning("%s on turn %s: %s", reward.name, linked.turn.turn_id, reason)
            if isinstance(error, JudgeAwayError):
                return reason
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            logger.exception("%s on turn %s failed", reward.name, linked.turn.turn_id)
        return self._failure(linked, reward, reason)

    def _failure(self, linked: LinkedTurn, reward: Reward, reason: str) -> Verdict:
        self._failed += 1
        return self._abstention(linked, reward.name, f"failed: {reason}")

    def _abstention(self, linked: LinkedTurn, module: str, reason: str) -> Verdict:
        return Verdict(
            turn_id=linked.turn.turn_id,
            module=module,
            score=None,
            judged_at=self._clock(),
            explanation=reason,
        )

    def _report(self, linked: LinkedTurn, verdicts: Sequence[Verdict]) -> None:
        """Count, and tell the monitor."""
        scores = [verdict.score for verdict in verdicts if verdict.score is not None]
        self._scored += bool(scores)
        self._abstained += not scores
        if self._monitor is None:
            return
        metrics = {
            "judge/scored": float(self._scored),
            "judge/abstained": float(self._abstained),
            "judge/failed": float(self._failed),
            "judge/waiting": float(self.status().waiting),
            "judge/latency_s": max(0.0, self._clock() - linked.next_state.arrived_at),
        }
        if scores:
            metrics["judge/score"] = sum(scores) / len(scores)
        self._monitor.log(metrics)
