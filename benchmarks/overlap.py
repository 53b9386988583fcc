"""How much sooner is the same work done by loops that overlap than by taking turns?

    python benchmarks/overlap.py [--quick]

A simulated user talks, the judges score, the learner trains. Overlapped, the user just goes on;
alternating, it pauses after each batch until the version trained on it is served, so that no
request is under way during a step and no step during a request. Once where replies and steps are
slept, so that nothing but the loops themselves is in the way, and once with the default model in
the demo's two processes. About ten minutes on two CPU cores; `--quick` puts the tiny random model
in its place, with fewer and shorter steps: it shows that the script works.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from _asleep import asleep
from _compare import in_turn, load, one_line, ratios, spread
from _config import composed
from _intervals import Interval, length, shared
from _loops import Loops, User, served_version
from _result import Goal, write_result

from clawjax.config import RunConfig
from clawjax.errors import LearnerError
from clawjax.log.replay import replay
from clawjax.log.store import SqlTurnLog
from clawjax.metrics.jsonl import read_jsonl
from clawjax.runtime.build import open_log
from clawjax.runtime.paths import RunPaths

TARGET = 1.8
TIMEOUT_S = 600.0
POLL_S = 0.02
SAME_WORK = (
    "reward.modules=[next_state,feedback,quote,rules]",
    "reward.rules.max_words=75",
    "learner.learning_rate=0",
    "learner.max_staleness=1000",
    "learner.max_wait_s=1e6",
    "learner.idle_s=1e6",
    "gateway.port=0",
    "monitor=jsonl",
)
"""Every turn is scored and trained, each step takes exactly one batch, and replies stay as they
are."""


class Size(NamedTuple):
    """How much of what is measured."""

    rounds: int
    updates: int
    batch_turns: int


SLEPT, REAL = Size(rounds=2, updates=20, batch_turns=8), Size(rounds=2, updates=3, batch_turns=12)
SLEPT_QUICK, REAL_QUICK = Size(1, 12, 8), Size(1, 2, 4)
REPLY_S, STEP_S = 0.5, 1.0
"""Slept: as the user holds four conversations, a batch of eight takes as long as a step."""
NOTES = {
    "seconds": "from the first request until the version of the last update is served, median and "
    "range over the rounds; both schedules have the same conversations, turns and updates",
    "speedup": "alternating over overlapped seconds within a round",
    "at_best": "what the speed-up would be with parts that cost nothing besides what is slept: 2 U "
    "/ (U + 1) for U updates, as the first batch has no step to overlap with and the last step no "
    "batch; it can be exceeded, as what the parts cost overlaps as well",
    "shared_s": "seconds during which both a request and a training step were under way",
    "tokens": "sampled, mean of the rounds: replies are drawn anew, so that they differ a little",
    "slept": f"a reply takes {REPLY_S} s and a step {STEP_S} s of sleep; endpoint, judges, turn "
    "log, learner's loop, checkpoints and weight store are real and run in one process. Judged by "
    "rules alone, as the model that reads reactions would need a processor",
    "real": "the default model, serving and learning in a process each with the demo's settings "
    "(four conversations, pauses of four seconds, niceness of the learner), except that the "
    "learning rate is 0, so that replies do not become shorter, that every turn is scored, and "
    "that rows are padded to one length, so that nothing is compiled during a measurement",
}


@dataclass(slots=True)
class Schedule:
    """Talks and trains in so many phases; a call is one measurement."""

    config: RunConfig
    base_url: str
    log: SqlTurnLog
    folder: Path
    """Of the user of each call: `folder/0`, `folder/1`, ..."""
    updates: int
    phases: int
    """1 never waits; `updates` waits for each version before it goes on."""
    measured: list[dict[str, float]] = field(default_factory=list)

    def __call__(self) -> float:
        """Seconds until everything is said, trained and served.

        Raises:
            LearnerError: a turn was not trained on, or there were other steps than were meant.
            TimeoutError: a version is not served, or its step does not come to an end.
        """
        began, seconds = asyncio.run(self._run())
        self.measured.append({"seconds": seconds} | self._account(began))
        return seconds

    async def _run(self) -> tuple[float, float]:
        """When it began, in Unix seconds, and how long it took."""
        folder = self.folder / str(len(self.measured))
        before = served_version(self.base_url) or 0
        async with User.connected(self.config, self.base_url, folder, leave_rate=0.0) as user:
            began = time.time()
            for phase in range(1, self.phases + 1):
                await user.talk(self._turns * phase // self.phases)
                version = before + self.updates * phase // self.phases
                await asyncio.to_thread(self._served, version)
            return began, time.time() - began

    @property
    def _turns(self) -> int:
        return self.updates * self.config.learner.batch_turns

    def _served(self, version: int) -> None:
        self._until(
            lambda: served_version(self.base_url) == version, f"version {version} is not served"
        )

    def _until(self, holds: Callable[[], bool], complaint: str) -> None:
        deadline = time.monotonic() + TIMEOUT_S
        while not holds():
            if time.monotonic() > deadline:
                msg = f"{complaint} after {TIMEOUT_S:g} s: {self.log.counts()}"
                raise TimeoutError(msg)
            time.sleep(POLL_S)

    def _steps(self, began: float) -> list[Interval]:
        return steps_since(RunPaths(Path(self.config.run.dir)), began)

    def _account(self, began: float) -> dict[str, float]:
        """What was done since `began`, once the last step has logged what it did."""
        self._until(lambda: len(self._steps(began)) >= self.updates, "a step has not ended")
        steps, counts = self._steps(began), self.log.counts()
        said = [judged.turn for judged in replay(self.log) if judged.turn.arrived_at >= began]
        if (len(said), len(steps), counts.trained) != (self._turns, self.updates, counts.logged):
            found = f"{len(said)} turns and {len(steps)} steps"
            msg = f"{found} instead of {self._turns} and {self.updates}; the whole log: {counts}"
            raise LearnerError(msg)
        requests = [Interval(turn.arrived_at, turn.finished_at) for turn in said]
        return {
            "tokens": float(sum(len(turn.response_ids) for turn in said)),
            "request_s": length(requests),
            "step_s": length(steps),
            "shared_s": shared(requests, steps),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    is_quick = parser.parse_args().quick
    with TemporaryDirectory(prefix="overlap_") as folder:
        root = Path(folder)
        slept = measure_slept(root / "slept", SLEPT_QUICK if is_quick else SLEPT)
        real = measure_real(root / "real", REAL_QUICK if is_quick else REAL, is_tiny=is_quick)
    for row in (*slept, *real):
        print(one_line(row))
    write_result(
        "overlap_quick" if is_quick else "overlap",
        rows=[*slept, *real],
        goals=goals([*slept, *real]),
        command="python benchmarks/overlap.py" + (" --quick" if is_quick else ""),
        notes=NOTES,
    )


def goals(rows: Sequence[Mapping[str, Any]]) -> list[Goal]:
    """Of replies and steps that only wait, and of real ones, which share the processor."""
    speedups = {row["variant"]: row["speedup"] for row in rows if "speedup" in row}
    return [
        Goal(f"speed-up by overlapping, {variant}", ">=", TARGET, speedups.get(variant), "x")
        for variant in ("slept", "real")
    ]


def measure_slept(folder: Path, size: Size) -> list[dict[str, Any]]:
    """Rows of the loops without device work."""
    tiny = ("model=tiny", "model.context_length=4096", "user=simulated", "user.think_s=0")
    polls = ("learner.poll_s=0.02", "engine.poll_weights_s=0.02", "learner.nice=0")
    lengths = ("learner.length_buckets=[2048]", "learner.max_tokens=2048")
    rules = ("reward.modules=[rules]",)
    config = composed(folder, *SAME_WORK, *tiny, *polls, *lengths, *rules, *batches(size))
    paths = RunPaths(folder)
    paths.prepare()
    log = open_log(config.log)

    async def run() -> list[dict[str, Any]]:
        async with asleep(config, paths, log, reply_s=REPLY_S, step_s=STEP_S) as base_url:
            return await asyncio.to_thread(compare, "slept", config, base_url, log, size)

    try:
        return asyncio.run(run())
    finally:
        log.close()


def measure_real(folder: Path, size: Size, *, is_tiny: bool) -> list[dict[str, Any]]:
    """Rows of the demo's processes."""
    experiment = "tiny_demo" if is_tiny else "personal_demo"
    lengths = ("learner.length_buckets=[1024]", "learner.max_tokens=1024")
    config = composed(folder, f"experiment={experiment}", *SAME_WORK, *lengths, *batches(size))
    with Loops.running(config) as loops:
        return compare("real", loops.config, loops.base_url, loops.log, size)


def batches(size: Size) -> tuple[str, ...]:
    """A step takes exactly one batch."""
    return (
        f"learner.batch_turns={size.batch_turns}",
        f"learner.min_turns={size.batch_turns}",
    )


def compare(
    variant: str, config: RunConfig, base_url: str, log: SqlTurnLog, size: Size
) -> list[dict[str, Any]]:
    """Both schedules in turn, after one update that compiles: a row each, and their ratio."""

    def schedule(name: str, *, updates: int, phases: int) -> Schedule:
        return Schedule(config, base_url, log, Path(config.run.dir) / name, updates, phases)

    schedule("warm_up", updates=1, phases=1)()
    schedules = {
        "alternating": schedule("alternating", updates=size.updates, phases=size.updates),
        "overlapped": schedule("overlapped", updates=size.updates, phases=1),
    }
    contestants: dict[str, Callable[[], float]] = dict(schedules)
    seconds = in_turn(contestants, rounds=size.rounds, warm_ups=0)
    speedup = ratios(seconds["alternating"], seconds["overlapped"])
    common = {"variant": variant, "load": load()} | size._asdict()
    best = {"at_best": 2 * size.updates / (size.updates + 1)} if variant == "slept" else {}
    return [
        *(
            common | {"schedule": name} | summary(schedule.measured)
            for name, schedule in schedules.items()
        ),
        common | {"schedule": "alternating / overlapped"} | speedup.as_row("speedup") | best,
    ]


def summary(measured: Sequence[dict[str, float]]) -> dict[str, float]:
    """Seconds with their range; means of the rest."""
    seconds = spread([each["seconds"] for each in measured]).as_row("seconds")
    others = [name for name in measured[0] if name != "seconds"]
    return seconds | {name: sum(each[name] for each in measured) / len(measured) for name in others}


def steps_since(paths: RunPaths, began: float) -> list[Interval]:
    """When the training steps logged after `began` ran: each ends where it was logged."""
    return [
        Interval(entry["t"] - entry["train/seconds"], entry["t"])
        for entry in read_jsonl(paths.metrics)
        if "train/seconds" in entry and entry["t"] >= began
    ]


if __name__ == "__main__":
    main()
