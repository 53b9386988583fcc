"""Does anything grow that should not: memory, files, sessions, compiled programs?

    python benchmarks/soak.py [--quick]

Over 5,000 turns in over 500 conversations, on the tiny random model, in the processes of a run as a
user starts it, the supervisor included, with turns kept for a minute, the newest four versions, and
small files of metrics and logs. What is measured counts from when a third of the turns were said:
by then everything is compiled, and the first turns have been forgotten. `--quick` shows that the
script works.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from urllib.request import urlopen

from _compare import load, one_line
from _result import Goal, largest, write_result
from reliability.growth import (
    Look,
    compiled,
    peak_ratio,
    sampled,
    session_counts,
    slope,
    told,
    wait_until,
    watched,
)
from reliability.leftovers import objects_per_checkpoint
from reliability.running import LEARN, RUN, SERVE, Run
from reliability.talking import Memory, Person, Talk, connected

from clawjax.config.databases import file_url
from clawjax.log.store import SqlTurnLog
from clawjax.metrics.jsonl import set_aside
from clawjax.runtime.paths import RunPaths

LOOPS = (SERVE, LEARN)
"""What compiles; the supervisor does not."""
PROCESSES = (*LOOPS, RUN)
KEPT_VERSIONS = 4
IDLE_S = 10.0
FILE_MIB, GAUGES_S = 1 / 16, 1.0
"""So little for a file, and gauges so often, that some are set aside within the run."""
TINY = ("experiment=serve", "model=tiny", "engine=tiny", "learner=tiny")
_ANSWER_TIMEOUT_S = 30.0
_FIRST_STEP_TIMEOUT_S = 600.0
_LOG_TIME = "%Y-%m-%d %H:%M:%S"
"""As lines of logs begin."""


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
    "slope": "of the resident memory over the turns said, by least squares, in MiB per 1,000 "
    "turns; run: the supervisor",
    "open_sessions": "with a turn that nothing has come after, not even the session's end, in the "
    "log or in the gateway's memory, a while after the last request",
    "left_sessions": "in the gateway's memory once the last turns were forgotten; most_sessions: "
    "at a time before",
    "log_growth": "peak size of the turn log in the second half over that in the first; "
    "weights_growth: of the weight store; folder_growth: of everything in the run's folder",
    "told_mib": "metrics and logs with what was set aside, at most; told_share: of what they may "
    f"take, twice monitor.max_file_mib={FILE_MIB:g} for each; set_aside: how many of them were",
    "most_versions": "in the weight store at once: those that are kept, the one served, and one "
    "that is being written",
    "objects_per_checkpoint": "blocks of Python's memory that a saved checkpoint leaves in the "
    "learner, measured apart",
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
    slopes = largest([row[f"slope_{name}"] for name in PROCESSES])
    growth = largest([row[f"{what}_growth"] for what in ("log", "weights", "folder")])
    compiles = sum(row[f"compiled_{name}"] for name in LOOPS)
    return [
        Goal("turns", ">=", 5_000, row["turns"], "turns"),
        Goal("sessions", ">=", 500, row["sessions"], "sessions"),
        Goal("memory after warm-up, the worst process", "<=", 2.0, slopes, "MiB/1,000 turns"),
        Goal("sessions that stay open", "==", 0, row["open_sessions"], "sessions"),
        Goal("sessions left in memory", "==", 0, row["left_sessions"], "sessions"),
        Goal("growth of log, weight store and folder", "<=", 1.25, growth, "x"),
        Goal("metrics and logs, of what they may take", "<=", 1.0, row["told_share"], "x"),
        Goal("of these, files that were set aside", ">=", 1, row["set_aside"], "files"),
        Goal("versions kept at once", "<=", KEPT_VERSIONS + 2, row["most_versions"], "versions"),
        Goal("programs compiled after warm-up", "==", 0, compiles, "programs"),
        Goal("requests refused", "==", 0, row["refused"], "requests"),
    ]


def measure(folder: Path, size: Size) -> dict[str, Any]:
    """Talk, and look every second."""
    overrides = (
        *TINY,
        "run.max_restarts=0",
        f"gateway.session_idle_s={IDLE_S:g}",
        f"learner.keep_versions={KEPT_VERSIONS}",
        f"log.retention_days={size.kept_s / 86_400}",
        f"monitor.max_file_mib={FILE_MIB}",
        f"monitor.interval_s={GAUGES_S:g}",
    )
    memory, began = Memory(), time.monotonic()
    with Run.started(folder / "soak", *overrides, env={"JAX_LOG_COMPILES": "1"}) as run:
        pids = run.pids()
        look = partial(_look, run, pids, memory)
        with watched(look) as looks:
            asyncio.run(_talk(run, memory, size, size.turns // 3))
            run.until(lambda: bool(run.health().get("version")), _FIRST_STEP_TIMEOUT_S)
            warm, warm_at = len(looks), time.strftime(_LOG_TIME)
            asyncio.run(_talk(run, memory, size, size.turns))
            talked = len(looks)
        new = {name: _compiled_since(run, name, warm_at) for name in LOOPS}
        wait_until(lambda: not _open(run), 6 * IDLE_S)
        opened = _open(run)
        wait_until(lambda: not _sessions(run)["remembered"], 2 * size.kept_s + 6 * IDLE_S)
        left = _sessions(run)["remembered"]
        files = told(run.folder)
        run.stop()
    for name, lines in new.items():
        for line in lines:
            print(f"{name}: {line[:160]}")
    seconds = time.monotonic() - began
    return {
        "turns": len(memory.answered),
        "sessions": memory.sessions,
        "minutes": seconds / 60,
        "load": load(),
        **_growth(looks[warm:talked], files),
        "open_sessions": opened,
        "left_sessions": left,
        **{f"compiled_{name}": len(lines) for name, lines in new.items()},
        "refused": len(memory.refused) + memory.broken_off + memory.unreachable,
        "objects_per_checkpoint": objects_per_checkpoint(folder / "apart", *TINY),
    }


def _look(run: Run, pids: Mapping[str, int], memory: Memory) -> Look:
    sessions = _sessions(run)["remembered"]
    return sampled(run.folder, pids, len(memory.answered), sessions)


def _growth(looks: Sequence[Look], files: Sequence[Path]) -> dict[str, Any]:
    """Of everything, over the looks after the warm-up; `files` are those of metrics and logs."""
    set_aside = [file for file in files if file.stem.endswith(".1")]
    told_mib = max(look.told_mib for look in looks)
    return {
        **{f"slope_{name}": slope(looks, name) for name in PROCESSES},
        **{f"rss_{name}_mib": looks[-1].rss[name] for name in PROCESSES},
        "log_mib": max(look.log_mib for look in looks),
        "log_growth": peak_ratio([look.log_mib for look in looks]),
        "weights_mib": max(look.weights_mib for look in looks),
        "weights_growth": peak_ratio([look.weights_mib for look in looks]),
        "folder_mib": max(look.folder_mib for look in looks),
        "folder_growth": peak_ratio([look.folder_mib for look in looks]),
        "told_mib": told_mib,
        "told_share": told_mib / (2 * FILE_MIB * (len(files) - len(set_aside))),
        "set_aside": len(set_aside),
        "most_sessions": max(look.sessions for look in looks),
        "most_versions": max(look.versions for look in looks),
    }


async def _talk(run: Run, memory: Memory, size: Size, turns: int) -> None:
    """Let people talk until so many turns were said in all, in their share of the sessions."""
    sessions = size.sessions * turns // size.turns

    async def hold(number: int) -> None:
        rng = random.Random(f"{turns} {number}")
        person = Person(client, "tiny", TALK, memory, rng, is_patient=False)
        while len(memory.answered) < turns or memory.sessions < sessions:
            await person.converse()

    async with connected(run.base_url, size.people) as client:
        await asyncio.gather(*(hold(number) for number in range(size.people)))


def _open(run: Run) -> int:
    """Sessions with a turn that nothing has come after: the log's, or more that only memory has."""
    log = SqlTurnLog.open(file_url(run.folder / "turns.db"))
    try:
        found = [log.get(turn_id) for turn_id in log.waiting()]
    finally:
        log.close()
    turns = [one.turn for one in found if one is not None]
    return max(len({(turn.scope, turn.session_id) for turn in turns}), _sessions(run)["open"])


def _sessions(run: Run) -> dict[str, int]:
    with urlopen(  # noqa: S310 - our own endpoint
        run.base_url.removesuffix("/v1") + "/metrics", timeout=_ANSWER_TIMEOUT_S
    ) as answer:
        return session_counts(answer.read().decode())


def _compiled_since(run: Run, name: str, time_: str) -> list[str]:
    """Programs that a process compiled later than that, as far as its logs go back."""
    log = RunPaths(run.folder).process_log(name)
    parts = [part for part in (set_aside(log), log) if part.exists()]
    lines = "".join(part.read_text(errors="replace") for part in parts).splitlines()
    return [line for line in compiled(lines) if line[: len(time_)] > time_]


if __name__ == "__main__":
    main()
