"""Does anything grow that should not: memory, files, sessions, compiled programs?

    python benchmarks/soak.py [--quick]

Over 5,000 turns in over 500 conversations, on the tiny random model, in the processes in which a
run serves and learns, with turns kept for a minute and the newest four versions. What is measured
counts from when a third of the turns were said: by then everything is compiled, and the first turns
have been forgotten. `--quick` shows that the script works.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from _compare import load, one_line
from _config import composed
from _loops import Loops
from _result import Goal, largest, write_result
from reliability.growth import Look, compiled, peak_ratio, sampled, slope, wait_until, watched
from reliability.talking import Memory, Person, Talk, connected

from clawjax.log.store import SqlTurnLog

SERVE, LEARN = "serve", "learn"
KEPT_VERSIONS = 4
IDLE_S = 10.0


class Size(NamedTuple):
    """How much is said."""

    turns: int
    sessions: int
    people: int
    kept_s: float
    """How long turns are kept."""


FULL = Size(turns=5_000, sessions=500, people=8, kept_s=60.0)
QUICK = Size(turns=200, sessions=20, people=4, kept_s=45.0)
TALK = Talk(turns=12, tokens=8, rated=0.3, streamed=0.5)
NOTES = {
    "slope": "of the resident memory over the turns said, by least squares, in MiB per 1,000 turns",
    "open_sessions": "turns that nothing has come after, not even their session's end, a while "
    "after the last request",
    "log_growth": "peak size of the turn log in the second half over that in the first; "
    "weights_growth: of the weight store",
    "most_versions": "in the weight store at once: those that are kept, the one served, and one "
    "that is being written",
    "compiled": "programs that a process compiled, as jax says with JAX_LOG_COMPILES=1",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    is_quick = parser.parse_args().quick
    with TemporaryDirectory(prefix="soak_") as folder:
        row = measure(Path(folder), QUICK if is_quick else FULL)
    print(one_line(row))
    write_result(
        "soak_quick" if is_quick else "soak",
        rows=[row],
        goals=goals([row]),
        command="python benchmarks/soak.py" + (" --quick" if is_quick else ""),
        notes=NOTES,
    )


def goals(rows: Sequence[Mapping[str, Any]]) -> list[Goal]:
    """What was promised."""
    (row,) = rows
    slopes = largest([row["slope_serve"], row["slope_learn"]])
    growth = largest([row["log_growth"], row["weights_growth"]])
    compiles = row["compiled_serve"] + row["compiled_learn"]
    return [
        Goal("turns", ">=", 5_000, row["turns"], "turns"),
        Goal("sessions", ">=", 500, row["sessions"], "sessions"),
        Goal("memory after warm-up, the worse process", "<=", 2.0, slopes, "MiB/1,000 turns"),
        Goal("sessions that stay open", "==", 0, row["open_sessions"], "sessions"),
        Goal("growth of log and weight store", "<=", 1.25, growth, "x"),
        Goal("versions kept at once", "<=", KEPT_VERSIONS + 2, row["most_versions"], "versions"),
        Goal("programs compiled after warm-up", "==", 0, compiles, "programs"),
        Goal("requests refused", "==", 0, row["refused"], "requests"),
    ]


def measure(folder: Path, size: Size) -> dict[str, Any]:
    """Talk, and look every second."""
    os.environ["JAX_LOG_COMPILES"] = "1"  # of the processes started
    config = composed(
        folder,
        "experiment=serve",
        "model=tiny",
        "engine=tiny",
        "learner=tiny",
        "gateway.port=0",
        f"gateway.session_idle_s={IDLE_S:g}",
        f"learner.keep_versions={KEPT_VERSIONS}",
        f"log.retention_days={size.kept_s / 86_400}",
    )
    memory, began = Memory(), time.monotonic()
    with Loops.running(config) as loops:
        pids = {name: loops.pid(name) for name in (SERVE, LEARN)}
        with watched(lambda: sampled(folder, pids, len(memory.answered))) as looks:
            asyncio.run(_talk(loops, memory, size, size.turns // 3))
            marks, warm = _lengths(loops), len(looks)
            asyncio.run(_talk(loops, memory, size, size.turns))
        new = {name: _compiled_since(loops, name, marks[name]) for name in pids}
        wait_until(lambda: not _open(loops.log), 6 * IDLE_S)
        left = _open(loops.log)
    for name, lines in new.items():
        for line in lines:
            print(f"{name}: {line[:160]}")
    seconds = time.monotonic() - began
    return {
        "turns": len(memory.answered),
        "sessions": memory.sessions,
        "minutes": seconds / 60,
        "load": load(),
        **_growth(looks[warm:]),
        "open_sessions": left,
        **{f"compiled_{name}": len(lines) for name, lines in new.items()},
        "refused": len(memory.refused) + memory.broken_off + memory.unreachable,
    }


def _growth(looks: Sequence[Look]) -> dict[str, Any]:
    """Of everything, over the looks after the warm-up."""
    rss = {name: looks[-1].rss[name] for name in (SERVE, LEARN)}
    return {
        **{f"slope_{name}": slope(looks, name) for name in (SERVE, LEARN)},
        **{f"rss_{name}_mib": value for name, value in rss.items()},
        "log_mib": max(look.log_mib for look in looks),
        "log_growth": peak_ratio([look.log_mib for look in looks]),
        "weights_mib": max(look.weights_mib for look in looks),
        "weights_growth": peak_ratio([look.weights_mib for look in looks]),
        "most_versions": max(look.versions for look in looks),
    }


async def _talk(loops: Loops, memory: Memory, size: Size, turns: int) -> None:
    """Let people talk until so many turns were said in all, in their share of the sessions."""
    sessions = size.sessions * turns // size.turns

    async def hold(number: int) -> None:
        rng = random.Random(f"{turns} {number}")
        person = Person(client, loops.config.model.name, TALK, memory, rng, is_patient=False)
        while len(memory.answered) < turns or memory.sessions < sessions:
            await person.converse()

    async with connected(loops.base_url, size.people) as client:
        await asyncio.gather(*(hold(number) for number in range(size.people)))


def _open(log: SqlTurnLog) -> int:
    """Turns that nothing has come after; those that were forgotten are not there."""
    return sum(not judged.next_states for judged in log.open_turns(limit=100_000))


def _lengths(loops: Loops) -> dict[str, int]:
    return {name: len(_lines(loops, name)) for name in (SERVE, LEARN)}


def _compiled_since(loops: Loops, name: str, line: int) -> list[str]:
    return compiled(_lines(loops, name)[line:])


def _lines(loops: Loops, name: str) -> list[str]:
    return loops.paths.process_log(name).read_text(errors="replace").splitlines()


if __name__ == "__main__":
    main()
