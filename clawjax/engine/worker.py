"""The thread that owns the device: it steps the scheduler and passes chunks to the event loop.

Owns the only calls into the compiled programs after start-up. Invariants: the event loop never
waits for the device, and talks to this thread through a bounded inbox and flags only; orders, such
as other weights or a pause, are carried out between two steps, in their place among the requests;
if the thread dies, every asker is told.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple

from clawjax.engine.pausing import Lease, PauseMode
from clawjax.engine.replies import Delivery, Job
from clawjax.engine.scheduler import Scheduler
from clawjax.errors import EngineError
from clawjax.protocols import GenerateRequest

__all__ = ["Order", "Worker"]

logger = logging.getLogger(__name__)

_IDLE_S = 0.2
"""How long an idle worker sleeps at most: the latency of stopping."""
_RATE_WINDOW_S = 5.0
_ORDERS = 8
"""Places in the inbox that requests never take."""
_STALLED_S = 120.0
"""A step that takes longer has hung; the slowest honest one compiles a program."""


class Order(NamedTuple):
    """What to do with the scheduler between two steps, and who waits for what comes of it."""

    carry_out: Callable[[Scheduler], Any]
    done: Future[Any]


class Worker:
    """Runs a scheduler in a thread of its own."""

    def __init__(
        self,
        build: Callable[[], Scheduler],
        deliver: Callable[[Sequence[Delivery]], None],
        loop: asyncio.AbstractEventLoop,
        *,
        max_open: int,
    ) -> None:
        """Prepare the thread.

        Args:
            build: makes the scheduler and compiles; runs in the thread.
            deliver: takes chunks; runs in the event loop.
            loop: where `deliver` runs.
            max_open: requests that are open at the same time.
        """
        self.ready: Future[None] = Future()
        self.version = 0
        self.running = 0
        self.generated_tokens = 0
        self.tokens_per_s = 0.0
        self.prompt_tokens = 0
        self.cached_tokens = 0
        self._failure: str | None = None
        self._build = build
        self._deliver = deliver
        self._loop = loop
        self._max_jobs = 2 * max_open  # unread ones; as many again may have been cancelled since
        self._inbox: queue.Queue[Job | Order] = queue.Queue(self._max_jobs + _ORDERS)
        self._lease = Lease()
        self._stop = threading.Event()
        self._beat = time.monotonic()
        self._recent: deque[tuple[float, int]] = deque()
        self._thread = threading.Thread(target=self._main, name="engine", daemon=True)

    def start(self) -> None:
        """Start the thread; `ready` says when it can serve, or why it cannot."""
        self._thread.start()

    @property
    def trouble(self) -> str | None:
        """Why this worker serves no more; None while it does."""
        if self._failure is not None:
            return self._failure
        if not self._thread.is_alive():
            return "the engine is closed"
        if time.monotonic() - self._beat > _STALLED_S:
            return f"the engine has not finished a step for {_STALLED_S:.0f} s"
        return None

    def put(self, item: Job | Order) -> bool:
        """Hand over a request or an order; False when the inbox is full."""
        if isinstance(item, Job) and self._inbox.qsize() >= self._max_jobs:
            return False
        try:
            self._inbox.put_nowait(item)
        except queue.Full:
            return False
        return True

    def stop(self, timeout_s: float) -> bool:
        """Cancel what runs and end the thread; False if it did not end in time."""
        self._stop.set()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def pause(self, scheduler: Scheduler, mode: PauseMode, lease_s: float) -> None:
        """Stop drawing for `lease_s` at most. An order: only carried out in the thread."""
        self._lease.begin(time.monotonic(), lease_s)
        if mode is PauseMode.ABORT:
            self._send(scheduler.cancel_all())
        elif mode is PauseMode.RETRACT:
            scheduler.retract_all()

    def resume(self, _: Scheduler) -> None:
        """Go on, if it is paused. An order, too."""
        self._lease.end()

    def _main(self) -> None:
        self.ready.set_running_or_notify_cancel()
        try:
            scheduler = self._build()
            self._beat = time.monotonic()
            self.ready.set_result(None)
            self._serve(scheduler)
        except BaseException as error:  # the thread's boundary: becomes the engine's failure
            self._fail(error)

    def _serve(self, scheduler: Scheduler) -> None:
        while not self._stop.is_set():
            self._receive(scheduler)
            delivered = scheduler.step() if self._pause_left_s == 0 else []
            self._publish(scheduler, sum(map(_drawn_tokens, delivered)))
            self._send(delivered)
        self._drain(scheduler.submit, "the engine is closed")
        self._send(scheduler.cancel_all())

    def _receive(self, scheduler: Scheduler) -> None:
        """Take what is in the inbox; sleep for a while if there is nothing to do at all."""
        pause_left_s = self._pause_left_s
        is_idle = scheduler.is_idle or pause_left_s > 0
        longest_s = min(pause_left_s or _IDLE_S, _IDLE_S)
        while True:
            try:
                item = self._inbox.get(block=is_idle, timeout=longest_s)
            except queue.Empty:
                return
            is_idle = False
            if isinstance(item, Job):
                scheduler.submit(item)
            elif item.done.set_running_or_notify_cancel():
                result = item.carry_out(scheduler)
                self._publish(scheduler, 0)  # who has waited sees what has come of it
                item.done.set_result(result)

    @property
    def _pause_left_s(self) -> float:
        return self._lease.left(time.monotonic())

    def _publish(self, scheduler: Scheduler, tokens: int) -> None:
        """Update what `status` reads from another thread: plain values, each written whole."""
        now = self._beat = time.monotonic()
        self.version = scheduler.weights.version
        self.running = scheduler.running
        self.generated_tokens += tokens
        self.prompt_tokens = scheduler.prompt_tokens
        self.cached_tokens = scheduler.cached_tokens
        if tokens:
            self._recent.append((now, tokens))
        while self._recent and now - self._recent[0][0] > _RATE_WINDOW_S:
            self._recent.popleft()
        span = now - self._recent[0][0] if self._recent else 0.0
        later = sum(count for _, count in self._recent) - (self._recent[0][1] if span else 0)
        self.tokens_per_s = later / span if span else 0.0

    def _send(self, delivered: Sequence[Delivery]) -> None:
        if not delivered:
            return
        try:
            self._loop.call_soon_threadsafe(self._deliver, delivered)
        except RuntimeError:
            if not self._loop.is_closed():
                raise
            logger.warning("the event loop has gone; stopping the engine")
            self._stop.set()

    def _drain(self, take_job: Callable[[Job], None], reason: str) -> None:
        """Empty the inbox for good."""
        while True:
            try:
                item = self._inbox.get_nowait()
            except queue.Empty:
                return
            if isinstance(item, Job):
                take_job(item)
            elif item.done.set_running_or_notify_cancel():
                item.done.set_exception(EngineError(reason))

    def _fail(self, error: BaseException) -> None:
        """Record the death; whoever waits for a chunk looks at `trouble` and finds it."""
        logger.error("the engine has failed", exc_info=error)
        self._failure = f"the engine has failed ({type(error).__name__}: {error}); restart it"
        self.running = 0
        self.tokens_per_s = 0.0
        self._drain(lambda job: None, self._failure)
        if not self.ready.done():
            self.ready.set_exception(error)


def _drawn_tokens(delivery: Delivery) -> int:
    """How many tokens were generated: those that are scored were not."""
    is_drawn = isinstance(delivery.job.request, GenerateRequest)
    return len(delivery.chunk.token_ids) if is_drawn else 0
