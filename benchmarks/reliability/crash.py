"""Kills a run's processes at random moments while people talk, and adds up what became of it."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from .accounts import Books, read_books
from .running import LEARN, RUN, SERVE, Run
from .talking import Memory, Person, Talk, connected

__all__ = ["Crashes", "crash_rows", "crashes"]

MODEL = "tiny"
OVERRIDES = (
    "experiment=serve",
    "model=tiny",
    "engine=tiny",
    "learner=tiny",
    "learner.idle_s=0.5",
    "learner.max_wait_s=2",
    "gateway.session_idle_s=5",
    "run.max_restarts=1000000",
    "run.max_restart_wait_s=0",
)
"""Sessions close soon, so that every turn comes to an end; nobody gives up on a process."""
TALK = Talk(turns=4, tokens=24)
_LONGEST_LIFE_S = 6.0
"""A process is killed at a moment within so long of when people were answered again."""
_LEAST_ANSWERS = 8
"""That is when so many replies were read since all processes are there again."""
_IN_THE_START = 0.25
"""Share of the kills that do not wait for that."""
_DRAIN_TIMEOUT_S = 300.0
_SETTLED_S = 15.0
"""Longer than a session stays open; a queue that has not moved for so long does not move."""


class Crashes(NamedTuple):
    """How often what was killed, what clients noticed, and the balance."""

    kills: dict[str, int]
    memory: Memory
    stop_s: float
    """How long it took to stop in order, while people talked."""
    seconds: float
    books: Books


def crashes(folder: Path, *, kills: int, people: int, seed: int) -> Crashes:
    """Kill so often, stop in order under load, let what is left be learnt, and add up."""
    began = time.monotonic()
    overrides = (*OVERRIDES, f"engine.compilation_cache={folder / 'xla'}")
    with Run.started(folder / "crash", *overrides) as run:
        memory = Memory()
        killed, stop_s = asyncio.run(_kill_under_load(run, memory, kills, people, seed))
        run.start()
        run.until(run.is_whole)
        _drain(run)
        run.stop()
    seconds = time.monotonic() - began
    return Crashes(killed, memory, stop_s, seconds, read_books(memory, run.folder))


def crash_rows(found: Crashes) -> list[dict[str, Any]]:
    """One row with all of it."""
    books, memory = found.books, found.memory
    return [
        {
            "case": "kill -9",
            **{f"killed_{name}": count for name, count in found.kills.items()},
            "sessions": memory.sessions,
            "attempts": memory.attempts,
            "answered": books.answered,
            "missing": books.missing,
            "missing_ratings": books.missing_ratings,
            "logged": books.logged,
            "trained": books.trained,
            "trained_twice": books.trained_twice,
            "trained_in_name_only": books.trained_in_name_only,
            "asked_twice": books.asked_twice,
            "doubled": books.doubled,
            "dropped": sum(books.dropped.values()),
            "dropped_why": books.dropped,
            "queued": books.queued,
            "claimed": books.claimed,
            "unaccounted": books.unaccounted,
            "broken_off": memory.broken_off,
            "unreachable": memory.unreachable,
            "refused": len(memory.refused),
            "stop_s": found.stop_s,
            "minutes": found.seconds / 60,
        }
    ]


async def _kill_under_load(
    run: Run, memory: Memory, kills: int, people: int, seed: int
) -> tuple[dict[str, int], float]:
    rng = random.Random(seed)
    killed: dict[str, int] = {SERVE: 0, LEARN: 0, RUN: 0}
    async with _people(run.base_url, memory, people, seed):
        for name in _order(kills, rng):
            if rng.random() >= _IN_THE_START:
                await asyncio.to_thread(_until_answered, run, memory)
            await asyncio.sleep(rng.uniform(0.0, _LONGEST_LIFE_S))
            await asyncio.to_thread(run.kill, name)
            killed[name] += 1
            print(f"killed {name} ({sum(killed.values())} of {kills})", flush=True)
        await asyncio.to_thread(_until_answered, run, memory)
        stop_s = await asyncio.to_thread(run.stop)
    return killed, stop_s


def _until_answered(run: Run, memory: Memory) -> None:
    run.until(run.is_whole)
    before = len(memory.answered)
    run.until(lambda: len(memory.answered) >= before + _LEAST_ANSWERS)


def _order(kills: int, rng: random.Random) -> Sequence[str]:
    """In random order; the supervisor half as often as the others."""
    names = [(SERVE, LEARN, RUN, SERVE, LEARN)[number % 5] for number in range(kills)]
    rng.shuffle(names)
    return names


@asynccontextmanager
async def _people(base_url: str, memory: Memory, people: int, seed: int) -> AsyncGenerator[None]:
    """Let people talk; whoever waits for an answer at the end hangs up."""
    async with connected(base_url, people) as client, asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(
                _talk(Person(client, MODEL, TALK, memory, random.Random(f"{seed} {number}")))
            )
            for number in range(people)
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()


async def _talk(person: Person) -> None:
    while True:
        await person.converse()


def _drain(run: Run) -> None:
    """Wait until nothing more is learnt or dropped."""
    counts: Mapping[str, Any] = {}
    moved_at = began = time.monotonic()
    while time.monotonic() - moved_at < _SETTLED_S:
        now = time.monotonic()
        if (found := run.health().get("counts", counts)) != counts:
            counts, moved_at = found, now
        if now - began > _DRAIN_TIMEOUT_S:
            msg = f"the queue still moves after {_DRAIN_TIMEOUT_S:g} s: {counts}"
            raise RuntimeError(msg)
        time.sleep(1.0)
