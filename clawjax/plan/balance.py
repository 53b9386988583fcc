"""A simulation of the loop: who waits for whom, and how stale turns are when they are trained on.

Discrete events over assumed rates. Conversations take turns at asking; all replies under way share
the engine's tokens per second equally; judged turns queue; a learner that is idle takes a batch,
trains, writes its checkpoint and the version, and only then looks for the next batch, as
`clawjax.learner.loop` does. The engine, which fetches the newest version there is, one at a time,
stands still while it adopts it. Invariant: equal settings give equal results; every turn sampled is
trained, dropped as stale, or waiting at the end.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

__all__ = ["Balance", "Rates", "simulate"]


@dataclass(frozen=True, slots=True)
class Rates:
    """What is assumed of the parts."""

    decode_tokens_per_s: float
    """Of all servers together, when they are busy."""
    stream_tokens_per_s: float
    """The most that one reply gets."""
    train_tokens_per_s: float
    """Prompt and reply tokens, of the whole learner."""
    settle_s: float
    """That the learner writes checkpoint and version for after each step."""
    deliver_s: float
    """From then until every server has read the version; serving and learning go on."""
    downtime_s: float
    """That serving stands still for it."""
    conversations: int
    think_s: float
    """Mean pause between a reply and the next request, exponential."""
    prompt_tokens: float
    reply_tokens: float
    """Mean, log-normal with a standard deviation of as much."""
    batch_turns: int
    max_staleness: int
    slots: int
    """Replies under way at once; others wait."""

    def __post_init__(self) -> None:
        """Reject what never ends.

        Raises:
            ValueError: a rate that is not above 0, or no turns.
        """
        for name in ("decode_tokens_per_s", "stream_tokens_per_s", "train_tokens_per_s"):
            if getattr(self, name) <= 0:
                msg = f"{name}={getattr(self, name)} ends no turn: use a rate above 0"
                raise ValueError(msg)
        for name in ("conversations", "batch_turns", "slots"):
            if getattr(self, name) < 1:
                msg = f"{name}={getattr(self, name)} samples nothing: use at least 1"
                raise ValueError(msg)


class Balance(NamedTuple):
    """What came of it, per second of simulated time or as a share of it."""

    sampled_per_s: float
    trained_per_s: float
    learner_busy: float
    """Share of the time that the learner trains or writes."""
    engine_busy: float
    """Share of the time that the engine samples."""
    staleness: float
    """Mean of the trained turns, in versions between their first token and their step's start."""
    staleness_p95: float
    dropped: float
    """Share of all turns that left the queue."""
    counts: tuple[int, int, int, int]
    """Turns sampled, trained, dropped, waiting."""


class _Turn(NamedTuple):
    end: float
    """Of the tokens that every reply has been given, the number at which this one is complete."""
    number: int
    began_version: int


@dataclass(slots=True)
class _Loop:
    """The state between two events."""

    rates: Rates
    rng: random.Random
    now: float = 0.0
    given: float = 0.0
    """Tokens that each reply under way has been given since the start."""
    version: int = 0
    numbers: int = 0
    replies: list[_Turn] = field(default_factory=list)
    asking: list[float] = field(default_factory=list)
    """When conversations ask next."""
    queued: int = 0
    judged: deque[int] = field(default_factory=deque)
    """Versions that turns began with."""
    works_until: float = math.inf
    """When the step under way is trained and written."""
    adopts_at: float = math.inf
    """When the version under way has arrived."""
    under_way: int = 0
    still_until: float = 0.0
    steps: int = 0
    trained: list[int] = field(default_factory=list)
    dropped: int = 0
    sampled: int = 0
    learner_s: float = 0.0
    engine_s: float = 0.0

    def speed(self) -> float:
        """Tokens per second of one reply."""
        if not self.replies or self.now < self.still_until:
            return 0.0
        rates = self.rates
        return min(rates.stream_tokens_per_s, rates.decode_tokens_per_s / len(self.replies))

    def next_event(self) -> float:
        """When something happens."""
        times = [self.works_until, self.adopts_at]
        if self.asking:
            times.append(self.asking[0])
        if self.now < self.still_until:
            times.append(self.still_until)
        elif self.replies:
            times.append(self.now + max(0.0, self.replies[0].end - self.given) / self.speed())
        return min(times)

    def advance(self, until: float) -> None:
        """Let time pass in which nothing happens."""
        passed, speed = until - self.now, self.speed()
        self.given += passed * speed
        self.engine_s += passed if speed else 0.0
        self.learner_s += passed if self.works_until < math.inf else 0.0
        self.now = until

    def settle(self) -> None:
        """Do what is due now."""
        while self.asking and self.asking[0] <= self.now:
            heapq.heappop(self.asking)
            self.queued += 1
        while self.replies and self.replies[0].end <= self.given + 1e-6:
            self.judged.append(heapq.heappop(self.replies).began_version)
            self.sampled += 1
            pause = self.rng.expovariate(1.0 / self.rates.think_s) if self.rates.think_s else 0.0
            heapq.heappush(self.asking, self.now + pause)
        if self.adopts_at <= self.now:
            self.adopts_at, self.version = math.inf, self.under_way
            self.still_until = self.now + self.rates.downtime_s
        if self.works_until <= self.now:
            self.works_until = math.inf
            self.steps += 1
        if self.steps > self.version and self.adopts_at == math.inf:
            self.under_way, self.adopts_at = self.steps, self.now + self.rates.deliver_s
        self._start_step()
        while self.queued and len(self.replies) < self.rates.slots:
            self.queued -= 1
            self.numbers += 1
            end = self.given + self._length(self.rates.reply_tokens)
            heapq.heappush(self.replies, _Turn(end, self.numbers, self.version))

    def _start_step(self) -> None:
        """Take a batch if the learner is idle, without the turns that are too stale."""
        if self.works_until < math.inf or len(self.judged) < self.rates.batch_turns:
            return
        oldest = self.steps - self.rates.max_staleness
        fresh = deque(version for version in self.judged if version >= oldest)
        self.dropped += len(self.judged) - len(fresh)
        self.judged = fresh
        if len(self.judged) < self.rates.batch_turns:
            return
        batch = [self.judged.popleft() for _ in range(self.rates.batch_turns)]
        self.trained += [self.steps - version for version in batch]
        tokens = len(batch) * (self.rates.prompt_tokens + self.rates.reply_tokens)
        trains_s = tokens / self.rates.train_tokens_per_s
        self.works_until = self.now + trains_s + self.rates.settle_s

    def _length(self, mean: float) -> float:
        """Log-normal with a standard deviation of its mean: sigma^2 = log 2."""
        variance = math.log(2.0)
        return max(1.0, self.rng.lognormvariate(math.log(mean) - variance / 2, math.sqrt(variance)))


def simulate(rates: Rates, *, seconds: float, seed: int = 0) -> Balance:
    """Run the loop for so many simulated seconds, all conversations beginning within a pause.

    Raises:
        ValueError: `seconds` is not above 0.
    """
    if seconds <= 0:
        msg = f"seconds={seconds} simulates nothing: use more than 0"
        raise ValueError(msg)
    loop = _Loop(rates, random.Random(seed))
    loop.asking = sorted(loop.rng.uniform(0.0, rates.think_s) for _ in range(rates.conversations))
    while (event := loop.next_event()) < seconds:
        loop.advance(event)
        loop.settle()
    loop.advance(seconds)
    trained = sorted(loop.trained)
    left = len(trained) + loop.dropped
    return Balance(
        sampled_per_s=loop.sampled / seconds,
        trained_per_s=len(trained) / seconds,
        learner_busy=loop.learner_s / seconds,
        engine_busy=loop.engine_s / seconds,
        staleness=sum(trained) / len(trained) if trained else 0.0,
        staleness_p95=trained[math.ceil(0.95 * len(trained)) - 1] if trained else 0.0,
        dropped=loop.dropped / left if left else 0.0,
        counts=(loop.sampled, len(trained), loop.dropped, len(loop.judged)),
    )
